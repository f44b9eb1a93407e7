//! Discovery: which groups, versions and resources there are, in the old form and aggregated.
//!
//! What depends on definitions takes the custom kinds that are served, in their order.

mod aggregated;
mod legacy;

pub use aggregated::{Document, aggregated_core, aggregated_groups};
pub use legacy::{api_versions, group, group_list, resource_list};

use crate::kinds::{self, Kind};

/// Groups in order, without core, each with its versions in order of preference.
pub(crate) fn groups(custom: &[&'static Kind]) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    let all = kinds::table().iter().chain(custom.iter().copied());
    for kind in all.filter(|k| !k.group.is_empty()) {
        match groups.iter_mut().find(|(group, _)| *group == kind.group) {
            Some((_, versions)) if versions.contains(&kind.version) => {}
            Some((_, versions)) => versions.push(kind.version),
            None => groups.push((kind.group, vec![kind.version])),
        }
    }
    groups
}

/// The kinds of a version, sorted by resource; empty when there is no such version.
pub(crate) fn resources(
    custom: &[&'static Kind],
    group: &str,
    version: &str,
) -> Vec<&'static Kind> {
    let all = kinds::table().iter().chain(custom.iter().copied());
    let mut found: Vec<&'static Kind> =
        all.filter(|k| k.group == group && k.version == version).collect();
    found.sort_by_key(|k| k.plural);
    found
}
