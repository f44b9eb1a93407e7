//! The kinds of API group `coordination.k8s.io`.

use super::kind::Kind;
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "coordination.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[Kind {
    kind: "Lease",
    list_kind: "LeaseList",
    plural: "leases",
    singular: "lease",
    schema: "io.k8s.api.coordination.v1.Lease",
    storage_prefix: "leases",
    create_on_update: true,
    unconditional_update: false,
    printer: &columns::LEASE,
    hooks: rules::LEASE,
    ..BASE
}];
