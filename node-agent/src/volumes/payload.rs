//! The files that a volume shall hold, by path, and how keys of objects become them. Pure.
use std::collections::BTreeMap;
use std::path::{Component, Path};

use bytes::Bytes;
use k8s_openapi::api::core::v1::KeyToPath;

use super::VolumeError;
use crate::agent::Contents;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PayloadFile {
    pub(crate) data: Bytes,
    pub(crate) mode: u32,
}

/// Files by relative path.
pub(crate) type Payload = BTreeMap<String, PayloadFile>;

/// The mode of files that say none.
pub(crate) const MODE_DEFAULT: u32 = 0o644;

/// A mode from the API.
pub(crate) fn mode_of(mode: Option<i32>, default: u32) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default) & 0o777
}

/// All keys, or the listed ones at their paths.
pub(crate) fn from_contents(
    contents: &Contents,
    items: Option<&[KeyToPath]>,
    mode: u32,
    optional: bool,
    kind: &'static str,
) -> Result<Payload, VolumeError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = contents.data.iter();
        return Ok(all.map(|(k, v)| (k.clone(), PayloadFile { data: v.clone(), mode })).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        let Some(data) = contents.data.get(&item.key) else {
            if optional {
                continue;
            }
            return Err(VolumeError::KeyMissing { kind, key: item.key.clone() });
        };
        let file = PayloadFile { data: data.clone(), mode: mode_of(item.mode, mode) };
        payload.insert(checked(&item.path)?, file);
    }
    Ok(payload)
}

/// A relative path that stays inside.
pub(crate) fn checked(path: &str) -> Result<String, VolumeError> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !inside || path.starts_with("..") {
        return Err(VolumeError::Path(path.to_owned()));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_keys_get_their_paths_and_modes() {
        let contents = Contents {
            data: [("a".to_owned(), Bytes::from("1")), ("b".to_owned(), Bytes::from("2"))].into(),
            ..Default::default()
        };
        let item =
            |key: &str, path: &str, mode| KeyToPath { key: key.into(), path: path.into(), mode };
        let items = [item("a", "x/y", Some(0o400))];
        let payload = from_contents(&contents, Some(&items), 0o644, false, "configmap").unwrap();
        assert_eq!(payload["x/y"], PayloadFile { data: Bytes::from("1"), mode: 0o400 });
        assert_eq!(from_contents(&contents, None, 0o644, false, "configmap").unwrap().len(), 2);
        let missing = [item("c", "c", None)];
        let error =
            from_contents(&contents, Some(&missing), 0o644, false, "configmap").unwrap_err();
        assert_eq!(error.to_string(), "references non-existent configmap key: c");
        assert!(
            from_contents(&contents, Some(&missing), 0o644, true, "configmap").unwrap().is_empty()
        );
        assert!(checked("../x").is_err());
        assert!(checked("/x").is_err());
    }
}
