//! proxy: HTTP to a node's kubelet, a pod or a service, through the API server.

use http::header::LOCATION;
use http::{HeaderValue, Response};
use serde_json::Value;
use tokio::net::TcpStream;

use super::{forward, pods};
use crate::call::Call;
use crate::config::Connection;
use crate::ready_endpoints::ready_endpoints;
use crate::server::Body;
use crate::status::Status;
use crate::storage::stored_value;

/// Any method on `…/proxy` and what follows it.
pub(super) async fn run(call: Call) -> Result<Response<Body>, Status> {
    let (scheme, name, port) = split_name(&call.info.name);
    let (name, port) = (name.to_owned(), port.to_owned());
    if scheme == "https" {
        return Err(Status::bad_request("proxying to https backends is not supported"));
    }
    let (io, host): (Box<dyn Connection>, String) = match call.kind.plural {
        "nodes" => (pods::dial(&call, &name).await?, name.clone()),
        "pods" => to_pod(&call, &name, &port).await?,
        _ => to_service(&call, &name, &port).await?,
    };
    let rest = if call.info.rest.is_empty() { "/" } else { &call.info.rest };
    let query = call.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let target = format!("{rest}{query}");
    let prefix = {
        let path = call.uri.path();
        path[..path.len() - call.info.rest.len()].trim_end_matches('/').to_owned()
    };
    let mut response = forward::send(io, call.into_request(), &target, &host).await?;
    rewrite_location(&mut response, &prefix);
    Ok(response)
}

/// `scheme:name:port`, `name:port` or `name`.
fn split_name(text: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [scheme, name, port] => (scheme, name, port),
        [name, port] => ("", name, port),
        _ => ("", text, ""),
    }
}

async fn object(call: &Call, name: &str) -> Result<Value, Status> {
    let stored = call.cx.storage.get(&call.key(name)).await?;
    let value = stored.and_then(|s| stored_value(&s.value, s.revision));
    value.ok_or_else(|| Status::not_found(call.resource(), name))
}

async fn to_pod(
    call: &Call,
    name: &str,
    port: &str,
) -> Result<(Box<dyn Connection>, String), Status> {
    let pod = object(call, name).await?;
    let ports = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|c| c["ports"].as_array().into_iter().flatten());
    let port = match port.parse::<u16>() {
        Ok(port) => Some(port),
        Err(_) => ports
            .filter(|p| port.is_empty() || p["name"] == port)
            .find_map(|p| p["containerPort"].as_u64().and_then(|p| u16::try_from(p).ok()))
            .or(port.is_empty().then_some(80)),
    };
    let port =
        port.ok_or_else(|| Status::unavailable(format!("no port of pod {name:?} has that name")))?;
    let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
    if ip.is_empty() {
        return Err(Status::bad_request(format!(
            "address not allowed: pod {name:?} has no address"
        )));
    }
    dial(ip, port).await
}

async fn to_service(
    call: &Call,
    name: &str,
    port: &str,
) -> Result<(Box<dyn Connection>, String), Status> {
    let service = object(call, name).await?;
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let wanted = ports.iter().find(|p| {
        port.is_empty()
            || p["name"] == port
            || p["port"].as_u64().is_some_and(|n| n.to_string() == port)
    });
    let none =
        || Status::unavailable(format!("no endpoints available for service {:?}", call.info.name));
    let port_name = wanted.ok_or_else(none)?["name"].as_str().unwrap_or_default();
    let cache = call.cx.caches.of("endpointslices").await?;
    call.cx.caches.freshen(&cache).await?;
    let found = ready_endpoints(&cache, &call.info.namespace, name, port_name);
    let (ip, port) = found.first().ok_or_else(none)?;
    dial(ip, *port).await
}

async fn dial(ip: &str, port: u16) -> Result<(Box<dyn Connection>, String), Status> {
    let stream = TcpStream::connect((ip, port)).await.map_err(|e| {
        Status::unavailable(format!("error trying to reach service: dial tcp {ip}:{port}: {e}"))
    })?;
    Ok((Box::new(stream), format!("{ip}:{port}")))
}

/// A redirect within the backend stays below the proxy's path.
fn rewrite_location(response: &mut Response<Body>, prefix: &str) {
    let Some(location) = response.headers().get(LOCATION).and_then(|v| v.to_str().ok()) else {
        return;
    };
    if !location.starts_with('/') || location.starts_with(prefix) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{prefix}{location}")) {
        response.headers_mut().insert(LOCATION, value);
    }
}
