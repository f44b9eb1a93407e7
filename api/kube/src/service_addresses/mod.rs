//! Addresses and ports of Services.
//!
//! What is taken is read off the Services themselves; what was chosen a moment ago, and is not in
//! the cache yet, is reserved in memory. One API server chooses at a time.

mod allocator;

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::admission::{Admission, Operation};
use crate::status::Status;

pub(crate) use allocator::{Addresses, Reserved};

/// Gives a new Service its addresses and ports.
pub(crate) async fn on_create(a: &Admission<'_>, object: &mut Value) -> Result<Reserved, Status> {
    if !is_service(a) || a.operation != Operation::Create {
        return Ok(Reserved::none());
    }
    assign(a, object).await
}

/// Keeps, gives or takes back addresses and ports as a Service changes.
pub(crate) async fn on_update(
    a: &Admission<'_>,
    new: &mut Value,
    old: &Value,
) -> Result<Reserved, Status> {
    if !is_service(a) || !a.subresource.is_empty() {
        return Ok(Reserved::none());
    }
    keep_allocated(new, old);
    assign(a, new).await
}

fn is_service(a: &Admission<'_>) -> bool {
    a.kind.group.is_empty() && a.kind.kind == "Service"
}

fn needs_address(spec: &Value) -> bool {
    spec["type"] != "ExternalName" && spec["clusterIP"] != "None"
}

fn needs_ports(spec: &Value) -> bool {
    match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"].as_bool().unwrap_or(true),
        _ => false,
    }
}

async fn assign(a: &Admission<'_>, object: &mut Value) -> Result<Reserved, Status> {
    let mut reserved = a.cx.addresses.begin(&a.cx.caches, a.namespace, a.name, a.dry_run).await?;
    let spec = &mut object["spec"];
    if needs_address(spec) {
        let given = spec["clusterIP"].as_str().filter(|ip| !ip.is_empty()).map(str::to_owned);
        let ip = match given {
            Some(text) => {
                let ip: IpAddr = text.parse().map_err(|_| {
                    invalid(a, "spec.clusterIPs", &json!([text]), "must be a valid IP address")
                })?;
                reserved.take_address(ip).map_err(|why| {
                    invalid(
                        a,
                        "spec.clusterIPs",
                        &json!([text]),
                        &format!("failed to allocate IP {ip}: {why}"),
                    )
                })?;
                ip
            }
            None => reserved
                .any_address()
                .ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?,
        };
        let text = ip.to_string();
        spec["clusterIP"] = json!(text);
        let families = spec["clusterIPs"].as_array().map_or(0, Vec::len);
        if families <= 1 {
            spec["clusterIPs"] = json!([text]);
        }
        if spec["ipFamilies"].as_array().is_none_or(Vec::is_empty) {
            spec["ipFamilies"] = json!([if ip.is_ipv4() { "IPv4" } else { "IPv6" }]);
        }
        if spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = json!("SingleStack");
        }
    } else if spec["clusterIP"] == "None" {
        spec["clusterIPs"] = json!(["None"]);
        if spec["ipFamilies"].as_array().is_none_or(Vec::is_empty) {
            spec["ipFamilies"] = json!([reserved.default_family()]);
        }
        if spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = json!("SingleStack");
        }
    }
    if needs_ports(spec) {
        assign_ports(a, spec, &mut reserved)?;
    }
    let local = spec["externalTrafficPolicy"] == "Local" && spec["type"] == "LoadBalancer";
    if local && spec["healthCheckNodePort"].as_u64().unwrap_or(0) == 0 {
        let port = reserved.any_port("TCP").ok_or_else(full)?;
        spec["healthCheckNodePort"] = json!(port);
    }
    Ok(reserved)
}

fn assign_ports(
    a: &Admission<'_>,
    spec: &mut Value,
    reserved: &mut Reserved,
) -> Result<(), Status> {
    let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) else { return Ok(()) };
    let protocol_of = |p: &Value| p["protocol"].as_str().unwrap_or("TCP").to_owned();
    // What is asked for goes first: a port chosen here must not be one that is named below.
    for (i, port) in ports.iter().enumerate() {
        let Some(wanted) = port["nodePort"].as_u64().filter(|n| *n > 0) else { continue };
        let field = format!("spec.ports[{i}].nodePort");
        let number = u16::try_from(wanted).unwrap_or(0);
        reserved
            .take_port(&protocol_of(port), number)
            .map_err(|why| invalid(a, &field, &json!(wanted), &why))?;
    }
    for port in ports.iter_mut() {
        if port["nodePort"].as_u64().unwrap_or(0) == 0 {
            let chosen = reserved.any_port(&protocol_of(port)).ok_or_else(full)?;
            port["nodePort"] = json!(chosen);
        }
    }
    Ok(())
}

fn full() -> Status {
    Status::internal("failed to allocate a nodePort: range is full")
}

fn invalid(a: &Admission<'_>, field: &str, value: &Value, why: &str) -> Status {
    let kind = crate::call::kind_name(a.kind);
    let message = format!("Invalid value: {value}: {why}");
    Status::invalid_field(kind, a.name, "FieldValueInvalid", field, message)
}

/// An update that leaves addresses and ports out keeps those there are.
fn keep_allocated(new: &mut Value, old: &Value) {
    let (was, spec) = (&old["spec"], &mut new["spec"]);
    if needs_address(was) && needs_address(spec) {
        if spec["clusterIP"].as_str().unwrap_or_default().is_empty() {
            for field in ["clusterIP", "clusterIPs"] {
                spec[field] = was[field].clone();
            }
        }
        if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty)
            && spec["clusterIP"] == was["clusterIP"]
        {
            spec["clusterIPs"] = was["clusterIPs"].clone();
        }
    } else if needs_address(was) && spec["type"] == "ExternalName" {
        drop_fields(spec, &["clusterIP", "clusterIPs"]);
    }
    if spec["type"] != "ExternalName" {
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if spec[field].is_null() && !was[field].is_null() {
                spec[field] = was[field].clone();
            }
        }
    }
    if !needs_ports(spec) {
        // A port that nobody needs any more is given back, unless it was just asked for.
        let before: Vec<Value> = was["ports"].as_array().cloned().unwrap_or_default();
        for port in ports_mut(spec) {
            let same = before.iter().any(|b| b["nodePort"] == port["nodePort"]);
            if same && needs_ports(was) {
                drop_fields(port, &["nodePort"]);
            }
        }
        return;
    }
    let before: Vec<Value> = was["ports"].as_array().cloned().unwrap_or_default();
    for port in ports_mut(spec) {
        if port["nodePort"].as_u64().unwrap_or(0) > 0 {
            continue;
        }
        let same =
            before.iter().find(|b| b["port"] == port["port"] && b["protocol"] == port["protocol"]);
        if let Some(number) = same.map(|b| &b["nodePort"]).filter(|n| !n.is_null()) {
            port["nodePort"] = number.clone();
        }
    }
}

fn ports_mut(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten()
}

fn drop_fields(object: &mut Value, fields: &[&str]) {
    if let Some(map) = object.as_object_mut() {
        for field in fields {
            map.shift_remove(*field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_without_addresses_keeps_them() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}});
        let mut new =
            json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}});
        keep_allocated(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.5");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
        new["spec"]["type"] = json!("ClusterIP");
        keep_allocated(&mut new, &old);
        assert!(new["spec"]["ports"][0]["nodePort"].is_null());
    }
}
