//! The kinds of API group `discovery.k8s.io`.

use super::kind::Kind;
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "discovery.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[Kind {
    kind: "EndpointSlice",
    list_kind: "EndpointSliceList",
    plural: "endpointslices",
    singular: "endpointslice",
    schema: "io.k8s.api.discovery.v1.EndpointSlice",
    storage_prefix: "endpointslices",
    printer: &columns::ENDPOINT_SLICE,
    hooks: rules::ENDPOINT_SLICE,
    ..BASE
}];
