//! The kinds of API group `scheduling.k8s.io`.

use super::kind::{Kind, Scope};
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "scheduling.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[Kind {
    kind: "PriorityClass",
    list_kind: "PriorityClassList",
    plural: "priorityclasses",
    singular: "priorityclass",
    schema: "io.k8s.api.scheduling.v1.PriorityClass",
    short_names: &["pc"],
    scope: Scope::Cluster,
    storage_prefix: "priorityclasses",
    printer: &columns::PRIORITY_CLASS,
    hooks: rules::PRIORITY_CLASS,
    ..BASE
}];
