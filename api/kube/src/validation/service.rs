//! Services and what stands behind them.
// upstream: Kubernetes, pkg/apis/core/validation/validation.go, ValidateService

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::value::{immutable, items, one_of, port, text};
use super::{Errors, metadata, names};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(crate) fn service(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    let ports = spec["ports"].as_array().map_or(0, Vec::len);
    if ports == 0 && !headless && kind != "ExternalName" {
        errors.required("spec.ports", "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.invalid("spec.clusterIPs[0]", "None", &why);
        }
        "ExternalName" => external_name(spec, errors),
        _ => {}
    }
    let mut known = BTreeSet::new();
    for (path, one) in items(spec, "ports", "spec") {
        service_port(one, ports > 1, &mut known, &path, errors);
    }
    metadata::labels(&spec["selector"], "spec.selector", errors);
    one_of(spec, "sessionAffinity", "spec", &["ClientIP", "None"], errors);
    for (path, address) in items(spec, "externalIPs", "spec") {
        let address = address.as_str().unwrap_or_default();
        if address.parse::<IpAddr>().is_err() {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.invalid(path, address, why);
        }
    }
    cluster_addresses(spec, errors);
    one_of(spec, "type", "spec", TYPES, errors);
    repeated_ports(spec, kind, errors);
    if !spec["allocateLoadBalancerNodePorts"].is_null() && kind != "LoadBalancer" {
        let why = "may only be used when `type` is 'LoadBalancer'";
        errors.forbidden("spec.allocateLoadBalancerNodePorts", why);
    }
    for field in ["internalTrafficPolicy", "externalTrafficPolicy"] {
        if !text(spec, field).is_empty() {
            one_of(spec, field, "spec", &["Cluster", "Local"], errors);
        }
    }
    if !text(spec, "externalTrafficPolicy").is_empty()
        && matches!(kind, "ClusterIP" | "ExternalName")
    {
        let externals = spec["externalIPs"].as_array().is_some_and(|e| !e.is_empty());
        if !externals {
            let why = "may only be set for externally-accessible services";
            let policy = text(spec, "externalTrafficPolicy");
            errors.invalid("spec.externalTrafficPolicy", policy, why);
        }
    }
    if !text(spec, "trafficDistribution").is_empty() {
        let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        one_of(spec, "trafficDistribution", "spec", &known, errors);
    }
}

fn external_name(spec: &Value, errors: &mut Errors) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let given = match &spec[field] {
            Value::Array(list) => !list.is_empty(),
            Value::String(text) => !text.is_empty(),
            _ => false,
        };
        if given {
            errors.forbidden(format!("spec.{field}"), "may not be set for ExternalName services");
        }
    }
    match text(spec, "externalName").trim_end_matches('.') {
        "" => errors.required("spec.externalName", ""),
        name => errors.all_invalid("spec.externalName", name, names::subdomain(name)),
    }
}

fn service_port<'a>(
    one: &'a Value,
    named: bool,
    known: &mut BTreeSet<&'a str>,
    path: &str,
    errors: &mut Errors,
) {
    let name = text(one, "name");
    let at = format!("{path}.name");
    if name.is_empty() {
        if named {
            errors.required(&at, "");
        }
    } else {
        errors.all_invalid(&at, name, names::label(name));
        if !known.insert(name) {
            errors.duplicate(&at, name);
        }
    }
    port(&one["port"], &format!("{path}.port"), errors);
    one_of(one, "protocol", path, names::PROTOCOLS, errors);
    port(&one["targetPort"], &format!("{path}.targetPort"), errors);
    let protocol = text(one, "appProtocol");
    if !protocol.is_empty() {
        errors.all_invalid(&format!("{path}.appProtocol"), protocol, names::qualified(protocol));
    }
}

fn cluster_addresses(spec: &Value, errors: &mut Errors) {
    let first = text(spec, "clusterIP");
    let all: Vec<&str> =
        spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(one) = all.first()
        && *one != first
    {
        let why = "first value must match `clusterIP`";
        errors.invalid("spec.clusterIPs", json!(all), why);
    }
    if all.len() > 2 {
        errors.invalid("spec.clusterIPs", json!(all), "may only hold up to 2 values");
    }
    let addresses = if all.is_empty() { vec![first] } else { all };
    for (at, address) in addresses.iter().enumerate() {
        let usable = matches!(*address, "" | "None") || address.parse::<IpAddr>().is_ok();
        if !usable {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.invalid(format!("spec.clusterIPs[{at}]"), *address, why);
        }
    }
}

fn repeated_ports(spec: &Value, kind: &str, errors: &mut Errors) {
    let (mut node_ports, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for (path, one) in items(spec, "ports", "spec") {
        let protocol = text(one, "protocol");
        let number = one["nodePort"].as_i64().unwrap_or(0);
        if number != 0 && kind == "ClusterIP" {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.forbidden(format!("{path}.nodePort"), why);
        }
        if number != 0 && !node_ports.insert((protocol, number)) {
            errors.duplicate(format!("{path}.nodePort"), number);
        }
        let number = one["port"].as_i64().unwrap_or(0);
        if !ports.insert((protocol, number)) {
            errors.duplicate(path, json!({"protocol": protocol, "port": number}));
        }
    }
}

pub(crate) fn service_update(new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
    if !subresource.is_empty() {
        return;
    }
    let (new, old) = (&new["spec"], &old["spec"]);
    if text(new, "type") == "ExternalName" || text(old, "type") == "ExternalName" {
        return;
    }
    let (after, before) = (text(new, "clusterIP"), text(old, "clusterIP"));
    if !before.is_empty() && after != before {
        errors.invalid("spec.clusterIPs[0]", after, "may not change once set");
    }
    let family = |spec: &Value| spec["ipFamilies"][0].clone();
    if !family(old).is_null() && family(new) != family(old) {
        errors.invalid("spec.ipFamilies[0]", family(new), "may not change once set");
    }
}

pub(crate) fn endpoint_slice(object: &Value, errors: &mut Errors) {
    let kind = text(object, "addressType");
    if kind.is_empty() {
        errors.required("addressType", "");
    } else if !matches!(kind, "FQDN" | "IPv4" | "IPv6") {
        errors.not_supported("addressType", kind, &["FQDN", "IPv4", "IPv6"]);
    }
    let endpoints = object["endpoints"].as_array().into_iter().flatten().enumerate();
    for (at, endpoint) in endpoints {
        let path = format!("endpoints[{at}]");
        if endpoint["addresses"].as_array().is_none_or(Vec::is_empty) {
            errors.required(format!("{path}.addresses"), "must contain at least 1 address");
        }
        for (path, address) in items(endpoint, "addresses", &path) {
            let address = address.as_str().unwrap_or_default();
            let right = match kind {
                "IPv4" => address.parse::<std::net::Ipv4Addr>().is_ok(),
                "IPv6" => address.parse::<std::net::Ipv6Addr>().is_ok(),
                _ => true,
            };
            if !right {
                errors.invalid(path, address, &format!("must be an {kind} address"));
            }
        }
    }
}

pub(crate) fn endpoint_slice_update(
    new: &Value,
    old: &Value,
    _subresource: &str,
    errors: &mut Errors,
) {
    immutable(new, old, "addressType", "", errors);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn errors_of(spec: Value) -> Vec<String> {
        let kind = crate::kinds::find("", "v1", "services").expect("services");
        let mut object = json!({"metadata": {"name": "s", "namespace": "d"}, "spec": spec});
        kind.default(&mut object);
        kind.validate_create(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ports_and_types() {
        let none: [&str; 0] = [];
        assert_eq!(errors_of(json!({"ports": [{"port": 80}]})), none);
        assert_eq!(errors_of(json!({"clusterIP": "None"})), none);
        assert_eq!(errors_of(json!({})), ["spec.ports: Required value"]);
        assert_eq!(
            errors_of(json!({"type": "X", "ports": [{"port": 80}, {"name": "a", "port": 0}]})),
            [
                "spec.ports[0].name: Required value",
                "spec.ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[1].targetPort: Invalid value: 0: must be between 1 and 65535, \
                 inclusive",
                "spec.type: Unsupported value: \"X\": supported values: \"ClusterIP\", \
                 \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ]
        );
    }
}
