//! The kinds of API group `apiextensions.k8s.io`.

use super::kind::{Generation, Kind, Scope, Subresource};
use super::rules;

const BASE: Kind = Kind { group: "apiextensions.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[Kind {
    kind: "CustomResourceDefinition",
    list_kind: "CustomResourceDefinitionList",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    schema: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    subresources: &[Subresource::of_kind("status", "CustomResourceDefinition")],
    storage_prefix: "apiextensions.k8s.io/customresourcedefinitions",
    has_status: true,
    generation: Generation::OnSpecChange,
    unconditional_update: false,
    hooks: rules::DEFINITION,
    ..BASE
}];
