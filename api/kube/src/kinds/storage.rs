//! The kinds of API group `storage.k8s.io`.

use super::kind::{Kind, Scope, Subresource};
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "storage.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "CSIDriver",
        list_kind: "CSIDriverList",
        plural: "csidrivers",
        singular: "csidriver",
        schema: "io.k8s.api.storage.v1.CSIDriver",
        scope: Scope::Cluster,
        storage_prefix: "csidrivers",
        returns_deleted: true,
        unconditional_update: false,
        printer: &columns::CSI_DRIVER,
        hooks: rules::CSI_DRIVER,
        ..BASE
    },
    Kind {
        kind: "CSINode",
        list_kind: "CSINodeList",
        plural: "csinodes",
        singular: "csinode",
        schema: "io.k8s.api.storage.v1.CSINode",
        scope: Scope::Cluster,
        storage_prefix: "csinodes",
        returns_deleted: true,
        unconditional_update: false,
        printer: &columns::CSI_NODE,
        ..BASE
    },
    Kind {
        kind: "CSIStorageCapacity",
        list_kind: "CSIStorageCapacityList",
        plural: "csistoragecapacities",
        singular: "csistoragecapacity",
        schema: "io.k8s.api.storage.v1.CSIStorageCapacity",
        storage_prefix: "csistoragecapacities",
        unconditional_update: false,
        printer: &columns::CSI_STORAGE_CAPACITY,
        ..BASE
    },
    Kind {
        kind: "StorageClass",
        list_kind: "StorageClassList",
        plural: "storageclasses",
        singular: "storageclass",
        schema: "io.k8s.api.storage.v1.StorageClass",
        short_names: &["sc"],
        scope: Scope::Cluster,
        storage_prefix: "storageclasses",
        returns_deleted: true,
        printer: &columns::STORAGE_CLASS,
        hooks: rules::STORAGE_CLASS,
        ..BASE
    },
    Kind {
        kind: "VolumeAttachment",
        list_kind: "VolumeAttachmentList",
        plural: "volumeattachments",
        singular: "volumeattachment",
        schema: "io.k8s.api.storage.v1.VolumeAttachment",
        scope: Scope::Cluster,
        subresources: &[Subresource::of_kind("status", "VolumeAttachment")],
        storage_prefix: "volumeattachments",
        has_status: true,
        returns_deleted: true,
        unconditional_update: false,
        printer: &columns::VOLUME_ATTACHMENT,
        ..BASE
    },
    Kind {
        kind: "VolumeAttributesClass",
        list_kind: "VolumeAttributesClassList",
        plural: "volumeattributesclasses",
        singular: "volumeattributesclass",
        schema: "io.k8s.api.storage.v1.VolumeAttributesClass",
        short_names: &["vac"],
        scope: Scope::Cluster,
        storage_prefix: "volumeattributesclasses",
        returns_deleted: true,
        unconditional_update: false,
        printer: &columns::VOLUME_ATTRIBUTES_CLASS,
        ..BASE
    },
];
