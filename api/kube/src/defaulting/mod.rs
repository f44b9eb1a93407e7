//! Defaults: what an object means when it leaves a field out.

use serde_json::Value;

use crate::kinds::Kind;

/// Fills the defaults of an object of a kind.
pub fn object(kind: &Kind, object: &mut Value) {
    (kind.hooks.default)(object);
}
