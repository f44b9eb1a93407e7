//! RFC 7396: objects merge, null removes, the rest replaces.

use serde_json::Value;

use super::PatchError;
use crate::kinds::Kind;

/// Applies a merge patch, which must be an object.
pub fn merge_patch(_kind: &Kind, original: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("error decoding patch: it must be an object".into()));
    }
    let mut new = original.clone();
    json_patch::merge(&mut new, patch);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_removes_and_lists_replace() {
        let original = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        let patch = json!({"a": {"b": null, "d": {"e": null}}, "l": [3]});
        assert_eq!(
            merge_patch(&Kind::DEFAULT, &original, &patch),
            Ok(json!({"a": {"c": 2, "d": {}}, "l": [3]}))
        );
    }
}
