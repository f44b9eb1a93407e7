//! Services and what routes to pods.
// upstream: Kubernetes, pkg/apis/{core,discovery,networking}/v1/defaults.go

use serde_json::{Value, json};

use super::fields::{absent, each, empty, present};

pub(crate) fn service(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    empty(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "None" {
        spec.as_object_mut().map(|s| s.shift_remove("sessionAffinityConfig"));
    }
    if spec["sessionAffinity"] == "ClientIP"
        && spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds").is_none_or(Value::is_null)
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
    }
    empty(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        empty(port, "protocol", "TCP");
        if port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = port["port"].clone();
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    let external_ips = spec["externalIPs"].as_array().is_some_and(|ips| !ips.is_empty());
    let reachable =
        matches!(kind.as_str(), "NodePort" | "LoadBalancer") || kind == "ClusterIP" && external_ips;
    if reachable {
        empty(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        absent(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        absent(spec, "allocateLoadBalancerNodePorts", true);
        if let Some(status) = present(object, "status")
            && let Some(balancer) = present(status, "loadBalancer")
        {
            for ingress in each(balancer, "ingress").filter(|i| i["ip"].is_string()) {
                absent(ingress, "ipMode", "VIP");
            }
        }
    }
}

pub(crate) fn endpoints(object: &mut Value) {
    for subset in each(object, "subsets") {
        each(subset, "ports").for_each(|port| empty(port, "protocol", "TCP"));
    }
}

pub(crate) fn endpoint_slice(object: &mut Value) {
    for port in each(object, "ports") {
        absent(port, "name", "");
        absent(port, "protocol", "TCP");
    }
}

pub(crate) fn network_policy(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    let has_egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
    if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
        spec["policyTypes"] =
            if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
    for rules in ["ingress", "egress"] {
        for rule in each(spec, rules) {
            each(rule, "ports").for_each(|port| absent(port, "protocol", "TCP"));
        }
    }
}

pub(crate) fn ingress_class(object: &mut Value) {
    if let Some(spec) = present(object, "spec")
        && let Some(parameters) = present(spec, "parameters")
    {
        absent(parameters, "scope", "Cluster");
    }
}
