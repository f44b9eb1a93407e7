//! The kinds of API group `resource.k8s.io`.

use super::kind::{Generation, Kind, Scope, Subresource};
use super::selectable;
use crate::table::columns;

const BASE: Kind = Kind { group: "resource.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "DeviceClass",
        list_kind: "DeviceClassList",
        plural: "deviceclasses",
        singular: "deviceclass",
        schema: "io.k8s.api.resource.v1.DeviceClass",
        scope: Scope::Cluster,
        storage_prefix: "deviceclasses",
        generation: Generation::OnSpecChange,
        returns_deleted: true,
        unconditional_update: false,
        printer: &columns::PLAIN,
        ..BASE
    },
    Kind {
        kind: "ResourceClaim",
        list_kind: "ResourceClaimList",
        plural: "resourceclaims",
        singular: "resourceclaim",
        schema: "io.k8s.api.resource.v1.ResourceClaim",
        subresources: &[Subresource::of_kind("status", "ResourceClaim")],
        storage_prefix: "resourceclaims",
        has_status: true,
        returns_deleted: true,
        unconditional_update: false,
        printer: &columns::RESOURCE_CLAIM,
        ..BASE
    },
    Kind {
        kind: "ResourceClaimTemplate",
        list_kind: "ResourceClaimTemplateList",
        plural: "resourceclaimtemplates",
        singular: "resourceclaimtemplate",
        schema: "io.k8s.api.resource.v1.ResourceClaimTemplate",
        storage_prefix: "resourceclaimtemplates",
        returns_deleted: true,
        unconditional_update: false,
        printer: &columns::PLAIN,
        ..BASE
    },
    Kind {
        kind: "ResourceSlice",
        list_kind: "ResourceSliceList",
        plural: "resourceslices",
        singular: "resourceslice",
        schema: "io.k8s.api.resource.v1.ResourceSlice",
        scope: Scope::Cluster,
        storage_prefix: "resourceslices",
        generation: Generation::OnSpecChange,
        returns_deleted: true,
        unconditional_update: false,
        selectable: selectable::RESOURCE_SLICE,
        printer: &columns::RESOURCE_SLICE,
        ..BASE
    },
];
