//! Look-up in the table of kinds.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{GROUPS, Kind};

type Index = BTreeMap<(&'static str, &'static str, &'static str), &'static Kind>;

static TABLE: LazyLock<Vec<Kind>> =
    LazyLock::new(|| GROUPS.iter().flat_map(|kinds| kinds.iter().copied()).collect());

static BY_PLURAL: LazyLock<Index> =
    LazyLock::new(|| table().iter().map(|k| ((k.group, k.version, k.plural), k)).collect());

static BY_KIND: LazyLock<Index> =
    LazyLock::new(|| table().iter().map(|k| ((k.group, k.version, k.kind), k)).collect());

/// Every built-in kind, in the order of discovery.
pub fn table() -> &'static [Kind] {
    &TABLE
}

/// The kind behind a resource's path: group (empty for core), version, plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    BY_PLURAL.get(&(group, version, plural)).copied()
}

/// The kind with this group, version and kind name.
pub fn by_gvk(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    BY_KIND.get(&(group, version, kind)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_once() {
        assert_eq!(BY_PLURAL.len(), table().len());
        assert_eq!(BY_KIND.len(), table().len());
        for kind in table() {
            assert_eq!(
                find(kind.group, kind.version, kind.plural).map(|k| k.kind),
                Some(kind.kind)
            );
        }
        assert!(find("apps", "v1beta1", "deployments").is_none());
    }

    #[test]
    fn only_kinds_of_one_name_share_storage() {
        for one in table() {
            for other in table().iter().filter(|k| k.storage_prefix == one.storage_prefix) {
                assert_eq!(one.plural, other.plural, "{}", one.storage_prefix);
            }
        }
    }
}
