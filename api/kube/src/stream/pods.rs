//! Streams of a pod: its logs and the processes in it, through the kubelet of its node.

use http::{Method, Request, Response};
use serde_json::Value;

use super::forward;
use crate::call::Call;
use crate::config::{Connection, NodeAddress};
use crate::layers::authorization;
use crate::server::{Body, body};
use crate::status::{GroupResource, Status};
use crate::storage::stored_value;
use crate::validation::FieldError;
use crate::verbs::list::number;
use crate::{kinds, respond};

const KUBELET_PORT: u16 = 10_250;
const LOG_OPTIONS: GroupResource<'_> = GroupResource { group: "", resource: "PodLogOptions" };

/// GET of a container's log.
pub(super) async fn log(call: Call) -> Result<Response<Body>, Status> {
    let pod = pod(&call).await?;
    validate_log(&call)?;
    let container = container(&call, &pod)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        return Ok(respond::bytes(200, "text/plain", ""));
    }
    let wanted = [
        "follow",
        "previous",
        "sinceSeconds",
        "sinceTime",
        "timestamps",
        "tailLines",
        "limitBytes",
        "stream",
    ];
    let query = kept(&call, |key| wanted.contains(&key).then(|| key.to_owned()));
    let path =
        format!("/containerLogs/{}/{}/{container}{query}", call.info.namespace, call.info.name);
    let io = dial(&call, &node).await?;
    let mut request = call.into_request();
    *request.method_mut() = Method::GET;
    let request: Request<_> = request.map(|_| body::no_body());
    let response = forward::send(io, request, &path, &node).await?;
    as_status(response).await
}

/// exec and attach: the kubelet speaks the same protocols, so the connection is joined to its.
pub(super) async fn exec(call: Call) -> Result<Response<Body>, Status> {
    // A WebSocket begins with a GET; running something needs more than the right to read.
    authorization::require_verb(&call, "create").await?;
    let pod = pod(&call).await?;
    let container = container(&call, &pod)?;
    let node = assigned(&call, &pod)?;
    let query = kept(&call, |key| {
        let key = match key {
            "stdin" => "input",
            "stdout" => "output",
            "stderr" => "error",
            "tty" | "command" => key,
            _ => return None,
        };
        Some(key.to_owned())
    });
    let path = format!(
        "/{}/{}/{}/{container}{query}",
        call.info.subresource, call.info.namespace, call.info.name
    );
    connect(call, &node, &path).await
}

/// portforward, passed on like exec.
pub(super) async fn port_forward(call: Call) -> Result<Response<Body>, Status> {
    authorization::require_verb(&call, "create").await?;
    let pod = pod(&call).await?;
    let node = assigned(&call, &pod)?;
    let query = kept(&call, |key| (key == "ports").then(|| "port".to_owned()));
    let path = format!("/portForward/{}/{}{query}", call.info.namespace, call.info.name);
    connect(call, &node, &path).await
}

async fn connect(call: Call, node: &str, path: &str) -> Result<Response<Body>, Status> {
    let io = dial(&call, node).await?;
    let response = forward::send(io, call.into_request(), path, node).await?;
    if response.status().is_success() || response.status().is_informational() {
        return Ok(response);
    }
    as_status(response).await
}

/// Opens a connection to a node's kubelet API.
pub(super) async fn dial(call: &Call, node: &str) -> Result<Box<dyn Connection>, Status> {
    let kind = kinds::find("", "v1", "nodes").ok_or_else(Status::unknown_resource)?;
    let stored = call.cx.storage.get(&crate::call::key(kind, "", node)).await?;
    let object = stored.and_then(|s| stored_value(&s.value, s.revision));
    let object = object.ok_or_else(|| Status::not_found(crate::call::resource(kind), node))?;
    let address = address(node, &object);
    call.cx.config.kubelet.dial(&address).await.map_err(|e| {
        let host = address.host.as_deref().unwrap_or(node);
        Status::internal(format!("error dialing backend: dial tcp {host}:{}: {e}", address.port))
    })
}

fn address(node: &str, object: &Value) -> NodeAddress {
    let status = &object["status"];
    let of_type = |wanted: &str| {
        status["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|a| a["type"] == wanted)
            .and_then(|a| a["address"].as_str().map(str::to_owned))
    };
    NodeAddress {
        node: node.to_owned(),
        host: of_type("InternalIP").or_else(|| of_type("Hostname")),
        port: status["daemonEndpoints"]["kubeletEndpoint"]["Port"]
            .as_u64()
            .and_then(|p| u16::try_from(p).ok())
            .filter(|p| *p > 0)
            .unwrap_or(KUBELET_PORT),
    }
}

async fn pod(call: &Call) -> Result<Value, Status> {
    let stored = call.cx.storage.get(&call.key(&call.info.name)).await?;
    let value = stored.and_then(|s| stored_value(&s.value, s.revision));
    value.ok_or_else(|| Status::not_found(call.resource(), &call.info.name))
}

fn assigned(call: &Call, pod: &Value) -> Result<String, Status> {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Status::bad_request(format!(
            "pod {} does not have a host assigned",
            call.info.name
        )));
    }
    Ok(node.to_owned())
}

/// The container that is asked for, or the only one.
fn container(call: &Call, pod: &Value) -> Result<String, Status> {
    let names = |list: &str| -> Vec<&str> {
        pod["spec"][list]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c["name"].as_str())
            .collect()
    };
    let (regular, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let name = &call.info.name;
    if let Some(wanted) = call.query.get("container") {
        if regular.iter().chain(&init).chain(&ephemeral).any(|c| *c == wanted) {
            return Ok(wanted.to_owned());
        }
        return Err(Status::bad_request(if call.info.subresource == "log" {
            format!("container {wanted} is not valid for pod {name}")
        } else {
            format!("container not found (\"{wanted}\")")
        }));
    }
    match regular.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => {
            Err(Status::bad_request(format!("a container name must be specified for pod {name}")))
        }
        many => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                many.join(" ")
            );
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(text))
        }
    }
}

fn validate_log(call: &Call) -> Result<(), Status> {
    let mut errors = Vec::new();
    let mut invalid = |field: &str, message: String| {
        errors.push(FieldError { reason: "FieldValueInvalid", field: field.to_owned(), message });
    };
    for (field, least, text) in [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ] {
        if let Some(n) = number(call, field)?.filter(|n| *n < least) {
            invalid(field, format!("Invalid value: {n}: {text}"));
        }
    }
    if call.query.has("sinceSeconds") && call.query.has("sinceTime") {
        errors.push(FieldError {
            reason: "FieldValueForbidden",
            field: String::new(),
            message: "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
                .to_owned(),
        });
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid(LOG_OPTIONS, &call.info.name, &errors))
    }
}

/// The query with the keys that `rename` keeps.
fn kept(call: &Call, rename: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    for pair in call.uri.query().unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let Some(key) = rename(key) {
            out.push(if out.is_empty() { '?' } else { '&' });
            out.push_str(&key);
            out.push('=');
            out.push_str(value);
        }
    }
    out
}

/// A kubelet's refusal is plain text; clients of the API expect a Status.
async fn as_status(response: Response<Body>) -> Result<Response<Body>, Status> {
    let code = response.status().as_u16();
    if response.status().is_success() {
        return Ok(response);
    }
    let text = match body::read(body::request_body(response.into_body())).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(status) => status.message,
    };
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    Err(Status::generic(code, reason, text))
}
