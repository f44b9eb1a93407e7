//! The kinds of API group `rbac.authorization.k8s.io`.

use super::kind::{Kind, NameRule, Scope};
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "rbac.authorization.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "ClusterRoleBinding",
        list_kind: "ClusterRoleBindingList",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        schema: "io.k8s.api.rbac.v1.ClusterRoleBinding",
        scope: Scope::Cluster,
        storage_prefix: "clusterrolebindings",
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        printer: &columns::ROLE_BINDING,
        hooks: rules::ROLE_BINDING,
        ..BASE
    },
    Kind {
        kind: "ClusterRole",
        list_kind: "ClusterRoleList",
        plural: "clusterroles",
        singular: "clusterrole",
        schema: "io.k8s.api.rbac.v1.ClusterRole",
        scope: Scope::Cluster,
        storage_prefix: "clusterroles",
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        hooks: rules::CLUSTER_ROLE,
        ..BASE
    },
    Kind {
        kind: "RoleBinding",
        list_kind: "RoleBindingList",
        plural: "rolebindings",
        singular: "rolebinding",
        schema: "io.k8s.api.rbac.v1.RoleBinding",
        storage_prefix: "rolebindings",
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        printer: &columns::ROLE_BINDING,
        hooks: rules::ROLE_BINDING,
        ..BASE
    },
    Kind {
        kind: "Role",
        list_kind: "RoleList",
        plural: "roles",
        singular: "role",
        schema: "io.k8s.api.rbac.v1.Role",
        storage_prefix: "roles",
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        hooks: rules::ROLE,
        ..BASE
    },
];
