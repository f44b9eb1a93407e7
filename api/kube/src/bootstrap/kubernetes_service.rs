//! The Service `kubernetes`, and endpoints that lead to this server.

use serde_json::{Value, json};

use super::Wanted;
use crate::context::Context;
use crate::status::Status;

/// Makes the service and its endpoints, or points them at this server.
pub(super) async fn ensure(cx: &Context) -> Result<(), Status> {
    let address = cx.addresses.first();
    let address = address.ok_or_else(|| Status::internal("the service range has no address"))?;
    let config = &cx.config;
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let service = json!({
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": address.to_string(),
            "clusterIPs": [address.to_string()], "ipFamilies": [family],
            "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443,
                "targetPort": config.advertise_port}]},
    });
    super::ensure(cx, Wanted { group: "", plural: "services", object: service, mend: mend_ports })
        .await?;
    let ip = config.advertise_address.to_string();
    let port = json!({"name": "https", "port": config.advertise_port, "protocol": "TCP"});
    let endpoints = json!({
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ip}], "ports": [port]}],
    });
    let mend = |wanted: &Value, old: &Value| replace(wanted, old, &["subsets"]);
    super::ensure(cx, Wanted { group: "", plural: "endpoints", object: endpoints, mend }).await?;
    let family = if config.advertise_address.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": [port],
    });
    let mend = |wanted: &Value, old: &Value| replace(wanted, old, &["endpoints", "ports"]);
    let slice = Wanted { group: "discovery.k8s.io", plural: "endpointslices", object: slice, mend };
    super::ensure(cx, slice).await
}

fn mend_ports(wanted: &Value, old: &Value) -> Option<Value> {
    if old["spec"]["ports"] == wanted["spec"]["ports"] {
        return None;
    }
    let mut new = old.clone();
    new["spec"]["ports"] = wanted["spec"]["ports"].clone();
    Some(new)
}

fn replace(wanted: &Value, old: &Value, fields: &[&str]) -> Option<Value> {
    if fields.iter().all(|field| old[*field] == wanted[*field]) {
        return None;
    }
    let mut new = old.clone();
    for field in fields {
        new[*field] = wanted[*field].clone();
    }
    Some(new)
}
