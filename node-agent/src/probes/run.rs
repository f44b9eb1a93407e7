//! One attempt of a probe, by whatever means it names.
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{exec, grpc, http, tcp};
use crate::agent::Context;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Healthy,
    /// Healthy, with words for an event.
    Warning(String),
    /// The container answered badly, or not.
    Unhealthy(String),
    /// The attempt itself could not be made.
    Error(String),
}

/// The place that is probed.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) container: &'a Container,
    pub(crate) id: &'a str,
    pub(crate) pod_ip: &'a str,
}

/// Makes one attempt.
pub(crate) async fn attempt(cx: &Context, target: Target<'_>, probe: &Probe) -> Outcome {
    let seconds = u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1);
    let timeout = Duration::from_secs(seconds);
    if let Some(action) = &probe.exec {
        let command = action.command.clone().unwrap_or_default();
        return exec::attempt(cx, target.id, command, timeout).await;
    }
    if let Some(get) = &probe.http_get {
        return http::attempt(get, target, timeout).await;
    }
    if let Some(socket) = &probe.tcp_socket {
        return match port_number(&socket.port, target.container) {
            Ok(port) => {
                let host = socket.host.as_deref().filter(|h| !h.is_empty());
                tcp::attempt(host.unwrap_or(target.pod_ip), port, timeout).await
            }
            Err(why) => Outcome::Error(why),
        };
    }
    if let Some(call) = &probe.grpc {
        let service = call.service.clone().unwrap_or_default();
        return grpc::attempt(target.pod_ip, call.port, service, timeout).await;
    }
    Outcome::Error("missing probe handler".into())
}

/// A port given by number or by the name of one of the container's.
pub(crate) fn port_number(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    };
    match number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0) {
        Some(number) => Ok(number),
        None => match port {
            IntOrString::Int(number) => Err(format!("invalid port number: {number}")),
            IntOrString::String(name) => {
                Err(format!("couldn't find port: {name} in container {}", container.name))
            }
        },
    }
}
