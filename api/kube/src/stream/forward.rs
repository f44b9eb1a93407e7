//! Forwarding: one request onto a fresh HTTP/1.1 connection, upgrades included.

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::config::Connection;
use crate::server::{Body, RequestBody};
use crate::status::Status;

/// Headers that belong to one connection only.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Sends `request` to `target` (path and query) on `io`. A switch of protocols joins both ends.
pub(super) async fn send(
    io: Box<dyn Connection>,
    mut request: Request<RequestBody>,
    target: &str,
    host: &str,
) -> Result<Response<Body>, Status> {
    let upgrade = request.headers().get(UPGRADE).cloned();
    let client_side = request.extensions_mut().remove::<OnUpgrade>();
    let (parts, body) = request.into_parts();
    let mut onward = Request::new(body);
    *onward.method_mut() = parts.method;
    *onward.uri_mut() = target
        .parse()
        .map_err(|e| Status::bad_request(format!("the path cannot be forwarded: {e}")))?;
    *onward.headers_mut() = end_to_end(&parts.headers);
    let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("localhost"));
    onward.headers_mut().insert(HOST, host);
    if let Some(upgrade) = &upgrade {
        onward.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        onward.headers_mut().insert(UPGRADE, upgrade.clone());
    }
    let failed =
        |e: hyper::Error| Status::unavailable(format!("error trying to reach service: {e}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a forwarded connection ended");
        }
    });
    let mut response = sender.send_request(onward).await.map_err(failed)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = response.into_parts();
        let mut answer = Response::new(Body::foreign(body));
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = end_to_end(&parts.headers);
        return Ok(answer);
    }
    let Some(client_side) = client_side else {
        return Err(Status::bad_request("unable to upgrade: the connection cannot be upgraded"));
    };
    let server_side = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
        let (Ok(client), Ok(server)) = tokio::join!(client_side, server_side) else { return };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
            tracing::debug!(%error, "an upgraded connection ended");
        }
    });
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = end_to_end(response.headers());
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Some(upgrade) = response.headers().get(UPGRADE).cloned().or(upgrade) {
        answer.headers_mut().insert(UPGRADE, upgrade);
    }
    Ok(answer)
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|v| v.trim().to_lowercase())
        .collect();
    let dropped = |name: &HeaderName| {
        HOP_BY_HOP.contains(&name.as_str()) || named.iter().any(|n| n == name.as_str())
    };
    headers.iter().filter(|(n, _)| !dropped(n)).map(|(n, v)| (n.clone(), v.clone())).collect()
}
