//! The kinds of API group `node.k8s.io`.

use super::kind::{Kind, Scope};
use crate::table::columns;

const BASE: Kind = Kind { group: "node.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[Kind {
    kind: "RuntimeClass",
    list_kind: "RuntimeClassList",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    schema: "io.k8s.api.node.v1.RuntimeClass",
    scope: Scope::Cluster,
    storage_prefix: "runtimeclasses",
    create_on_update: true,
    unconditional_update: false,
    printer: &columns::RUNTIME_CLASS,
    ..BASE
}];
