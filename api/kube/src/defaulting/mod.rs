//! Defaults: what an object means when it leaves a field out.

mod fields;
pub(crate) mod network;
pub(crate) mod others;
pub(crate) mod pod;
pub(crate) mod storage;
pub(crate) mod workloads;
pub(crate) mod zero;

use serde_json::Value;

use crate::custom;
use crate::facts::facts;
use crate::kinds::Kind;

/// Fills the defaults of an object of a kind: what the server always writes, the constant defaults
/// of the table of facts, then the kind's own. Does nothing when done again.
pub fn object(kind: &Kind, object: &mut Value) {
    if let Some(served) = kind.served() {
        return custom::filled(&served, object);
    }
    if let Some(ty) = facts().find(kind.schema) {
        zero::fill(ty, object);
    }
    (kind.hooks.default)(object);
}

/// Gives a status that was reset what the server always writes in it.
pub(crate) fn status(kind: &Kind, object: &mut Value) {
    if let Some(ty) = facts().find(kind.schema) {
        zero::fill_field(ty, object, "status");
    }
}
