//! RFC 6902: a list of operations.

use serde_json::Value;

use super::PatchError;
use crate::kinds::Kind;

/// As upstream.
const OPERATIONS_MAX: usize = 10_000;

/// Applies a list of operations; all of them or none.
pub fn json_patch(_kind: &Kind, original: &Value, patch: &Value) -> Result<Value, PatchError> {
    if let Some(list) = patch.as_array()
        && list.len() > OPERATIONS_MAX
    {
        return Err(PatchError::TooManyOperations { actual: list.len(), max: OPERATIONS_MAX });
    }
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|e| PatchError::Malformed(format!("error decoding patch: {e}")))?;
    let mut new = original.clone();
    json_patch::patch(&mut new, &operations).map_err(|e| PatchError::Failed(e.to_string()))?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations_apply_in_order() {
        let original = json!({"a": [1, 2], "b": {"c~/d": 1}});
        let patch = json!([
            {"op": "test", "path": "/a/0", "value": 1},
            {"op": "add", "path": "/a/-", "value": 3},
            {"op": "replace", "path": "/b/c~0~1d", "value": 2},
            {"op": "remove", "path": "/a/0"},
        ]);
        assert_eq!(
            json_patch(&Kind::DEFAULT, &original, &patch),
            Ok(json!({"a": [2, 3], "b": {"c~/d": 2}}))
        );
    }

    #[test]
    fn a_failed_test_changes_nothing() {
        let patch = json!([{"op": "test", "path": "/a", "value": 2}]);
        assert!(matches!(
            json_patch(&Kind::DEFAULT, &json!({"a": 1}), &patch),
            Err(PatchError::Failed(_))
        ));
        assert!(matches!(
            json_patch(&Kind::DEFAULT, &json!({}), &json!({"a": 1})),
            Err(PatchError::Malformed(_))
        ));
    }
}
