//! The kinds of API group `networking.k8s.io`.

use super::kind::{Generation, Kind, Scope, Subresource};
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "networking.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "IngressClass",
        list_kind: "IngressClassList",
        plural: "ingressclasses",
        singular: "ingressclass",
        schema: "io.k8s.api.networking.v1.IngressClass",
        scope: Scope::Cluster,
        storage_prefix: "ingressclasses",
        generation: Generation::OnSpecChange,
        printer: &columns::INGRESS_CLASS,
        hooks: rules::INGRESS_CLASS,
        ..BASE
    },
    Kind {
        kind: "Ingress",
        list_kind: "IngressList",
        plural: "ingresses",
        singular: "ingress",
        schema: "io.k8s.api.networking.v1.Ingress",
        short_names: &["ing"],
        subresources: &[Subresource::of_kind("status", "Ingress")],
        storage_prefix: "ingress",
        has_status: true,
        generation: Generation::OnSpecChange,
        printer: &columns::INGRESS,
        ..BASE
    },
    Kind {
        kind: "IPAddress",
        list_kind: "IPAddressList",
        plural: "ipaddresses",
        singular: "ipaddress",
        schema: "io.k8s.api.networking.v1.IPAddress",
        short_names: &["ip"],
        scope: Scope::Cluster,
        storage_prefix: "ipaddresses",
        unconditional_update: false,
        printer: &columns::IP_ADDRESS,
        ..BASE
    },
    Kind {
        kind: "NetworkPolicy",
        list_kind: "NetworkPolicyList",
        plural: "networkpolicies",
        singular: "networkpolicy",
        schema: "io.k8s.api.networking.v1.NetworkPolicy",
        short_names: &["netpol"],
        storage_prefix: "networkpolicies",
        generation: Generation::OnSpecChange,
        printer: &columns::NETWORK_POLICY,
        hooks: rules::NETWORK_POLICY,
        ..BASE
    },
    Kind {
        kind: "ServiceCIDR",
        list_kind: "ServiceCIDRList",
        plural: "servicecidrs",
        singular: "servicecidr",
        schema: "io.k8s.api.networking.v1.ServiceCIDR",
        scope: Scope::Cluster,
        subresources: &[Subresource::of_kind("status", "ServiceCIDR")],
        storage_prefix: "servicecidrs",
        has_status: true,
        unconditional_update: false,
        printer: &columns::SERVICE_CIDR,
        ..BASE
    },
];
