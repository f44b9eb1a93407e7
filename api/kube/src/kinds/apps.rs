//! The kinds of API group `apps`.

use super::kind::{Generation, Kind, Subresource};
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "apps", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "ControllerRevision",
        list_kind: "ControllerRevisionList",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        schema: "io.k8s.api.apps.v1.ControllerRevision",
        storage_prefix: "controllerrevisions",
        printer: &columns::CONTROLLER_REVISION,
        hooks: rules::CONTROLLER_REVISION,
        ..BASE
    },
    Kind {
        kind: "DaemonSet",
        list_kind: "DaemonSetList",
        plural: "daemonsets",
        singular: "daemonset",
        schema: "io.k8s.api.apps.v1.DaemonSet",
        short_names: &["ds"],
        categories: &["all"],
        subresources: &[Subresource::of_kind("status", "DaemonSet")],
        storage_prefix: "daemonsets",
        has_status: true,
        generation: Generation::OnSpecChange,
        printer: &columns::DAEMON_SET,
        hooks: rules::DAEMON_SET,
        ..BASE
    },
    Kind {
        kind: "Deployment",
        list_kind: "DeploymentList",
        plural: "deployments",
        singular: "deployment",
        schema: "io.k8s.api.apps.v1.Deployment",
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[Subresource::SCALE, Subresource::of_kind("status", "Deployment")],
        storage_prefix: "deployments",
        has_status: true,
        generation: Generation::OnSpecOrAnnotationsChange,
        status_keeps_labels: true,
        printer: &columns::DEPLOYMENT,
        hooks: rules::DEPLOYMENT,
        ..BASE
    },
    Kind {
        kind: "ReplicaSet",
        list_kind: "ReplicaSetList",
        plural: "replicasets",
        singular: "replicaset",
        schema: "io.k8s.api.apps.v1.ReplicaSet",
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[Subresource::SCALE, Subresource::of_kind("status", "ReplicaSet")],
        storage_prefix: "replicasets",
        has_status: true,
        generation: Generation::OnSpecChange,
        status_keeps_labels: true,
        printer: &columns::REPLICA_SET,
        hooks: rules::REPLICA_SET,
        ..BASE
    },
    Kind {
        kind: "StatefulSet",
        list_kind: "StatefulSetList",
        plural: "statefulsets",
        singular: "statefulset",
        schema: "io.k8s.api.apps.v1.StatefulSet",
        short_names: &["sts"],
        categories: &["all"],
        subresources: &[Subresource::SCALE, Subresource::of_kind("status", "StatefulSet")],
        storage_prefix: "statefulsets",
        has_status: true,
        generation: Generation::OnSpecChange,
        status_keeps_labels: true,
        printer: &columns::STATEFUL_SET,
        hooks: rules::STATEFUL_SET,
        ..BASE
    },
];
