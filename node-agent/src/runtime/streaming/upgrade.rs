//! From an HTTP request to a WebSocket with a channel protocol, or to SPDY.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::channels::Protocol;
use super::offers::Stream;
use super::{forward, process, spdy};
use crate::runtime::embedded::Inner;

/// A connection once it is upgraded.
pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Answers one request: the upgrade, or why not.
pub(super) async fn serve(
    inner: Arc<Inner>,
    request: Request<Incoming>,
) -> Result<Response<String>, Infallible> {
    Ok(accept(inner, request).unwrap_or_else(|(status, text)| {
        let mut response = Response::new(format!("{text}\n"));
        *response.status_mut() = status;
        response
    }))
}

fn accept(
    inner: Arc<Inner>,
    request: Request<Incoming>,
) -> Result<Response<String>, (StatusCode, &'static str)> {
    if has(&request, &CONNECTION, "upgrade") {
        if has(&request, &UPGRADE, "websocket") && request.method() == Method::GET {
            return accept_websocket(inner, request);
        }
        if has(&request, &UPGRADE, spdy::UPGRADE_NAME) {
            return accept_spdy(inner, request);
        }
    }
    Err((StatusCode::BAD_REQUEST, "unable to upgrade: neither websocket nor SPDY is asked for"))
}

/// Whether a header's list has an entry.
fn has(request: &Request<Incoming>, name: &http::HeaderName, wanted: &str) -> bool {
    list(request, name).any(|part| part.eq_ignore_ascii_case(wanted))
}

/// The entries of a header's list.
fn list<'a>(
    request: &'a Request<Incoming>,
    name: &http::HeaderName,
) -> impl Iterator<Item = &'a str> {
    let values = request.headers().get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',').map(str::trim))
}

fn take(inner: &Inner, request: &Request<Incoming>) -> Result<Stream, (StatusCode, &'static str)> {
    let stream = inner.streams.take(request.uri().path());
    stream.ok_or((StatusCode::NOT_FOUND, "no such stream"))
}

fn accept_websocket(
    inner: Arc<Inner>,
    mut request: Request<Incoming>,
) -> Result<Response<String>, (StatusCode, &'static str)> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let key = key.ok_or((StatusCode::BAD_REQUEST, "no websocket key"))?;
    let offered: Vec<String> = list(&request, &SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect();
    let protocol = Protocol::choose(&offered)
        .ok_or((StatusCode::BAD_REQUEST, "none of the websocket protocols is known"))?;
    let stream = take(&inner, &request)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        match stream {
            Stream::Exec(request) => process::exec(&inner, request, socket, protocol).await,
            Stream::Attach(request) => process::attach(&inner, request, socket, protocol).await,
            Stream::PortForward(request) => forward::forward(&inner, request, socket).await,
        }
    });
    let mut response =
        switching("websocket").header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    if let Some(name) = protocol.name() {
        response = response.header(SEC_WEBSOCKET_PROTOCOL, name);
    }
    finish(response)
}

fn accept_spdy(
    inner: Arc<Inner>,
    mut request: Request<Incoming>,
) -> Result<Response<String>, (StatusCode, &'static str)> {
    let header = http::HeaderName::from_static(spdy::PROTOCOL_HEADER);
    if !has(&request, &header, spdy::PROTOCOL) {
        return Err((StatusCode::FORBIDDEN, "over SPDY there is portforward.k8s.io alone"));
    }
    let Stream::PortForward(call) = take(&inner, &request)? else {
        return Err((StatusCode::BAD_REQUEST, "exec and attach are offered over websocket alone"));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            spdy::serve(&inner, call.pod_sandbox_id, TokioIo::new(upgraded)).await;
        }
    });
    finish(switching(spdy::UPGRADE_NAME).header(header, spdy::PROTOCOL))
}

fn switching(to: &str) -> http::response::Builder {
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, to)
}

fn finish(
    response: http::response::Builder,
) -> Result<Response<String>, (StatusCode, &'static str)> {
    let malformed = |_| (StatusCode::INTERNAL_SERVER_ERROR, "malformed response");
    response.body(String::new()).map_err(malformed)
}
