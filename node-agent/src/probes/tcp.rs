//! A connection: made is healthy.
use std::time::Duration;

use tokio::net::TcpStream;

use super::Outcome;

pub(crate) async fn attempt(host: &str, port: u16, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Healthy,
        Ok(Err(error)) => Outcome::Unhealthy(format!("dial tcp {host}:{port}: {}", words(&error))),
        Err(_) => Outcome::Unhealthy(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

/// The words of a failed connection, as Go says them.
pub(crate) fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        std::io::ErrorKind::ConnectionReset => "read: connection reset by peer".into(),
        _ => error.to_string(),
    }
}
