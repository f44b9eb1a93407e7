//! The kinds of API group `flowcontrol.apiserver.k8s.io`.

use super::kind::{Generation, Kind, Scope, Subresource};
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "flowcontrol.apiserver.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "FlowSchema",
        list_kind: "FlowSchemaList",
        plural: "flowschemas",
        singular: "flowschema",
        schema: "io.k8s.api.flowcontrol.v1.FlowSchema",
        scope: Scope::Cluster,
        subresources: &[Subresource::of_kind("status", "FlowSchema")],
        storage_prefix: "flowschemas",
        has_status: true,
        generation: Generation::OnSpecChange,
        printer: &columns::FLOW_SCHEMA,
        hooks: rules::FLOW_SCHEMA,
        ..BASE
    },
    Kind {
        kind: "PriorityLevelConfiguration",
        list_kind: "PriorityLevelConfigurationList",
        plural: "prioritylevelconfigurations",
        singular: "prioritylevelconfiguration",
        schema: "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
        scope: Scope::Cluster,
        subresources: &[Subresource::of_kind("status", "PriorityLevelConfiguration")],
        storage_prefix: "prioritylevelconfigurations",
        has_status: true,
        generation: Generation::OnSpecChange,
        printer: &columns::PRIORITY_LEVEL,
        hooks: rules::PRIORITY_LEVEL,
        ..BASE
    },
];
