//! The kinds of API group `apiregistration.k8s.io`.

use super::kind::{Generation, Kind, Scope, Subresource};
use crate::table::columns;

const BASE: Kind = Kind { group: "apiregistration.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[Kind {
    kind: "APIService",
    list_kind: "APIServiceList",
    plural: "apiservices",
    singular: "apiservice",
    schema: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    subresources: &[Subresource::of_kind("status", "APIService")],
    storage_prefix: "apiregistration.k8s.io/apiservices",
    has_status: true,
    generation: Generation::OnSpecChange,
    unconditional_update: false,
    printer: &columns::API_SERVICE,
    ..BASE
}];
