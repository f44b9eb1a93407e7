//! From an HTTP request to a WebSocket with a channel protocol.

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
use super::{forward, process};
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
    mut request: Request<Incoming>,
) -> Result<Response<String>, (StatusCode, &'static str)> {
    let has = |name: &http::HeaderName, wanted: &str| {
        let values = request.headers().get_all(name).into_iter();
        values
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted)))
    };
    if request.method() != Method::GET
        || !has(&CONNECTION, "upgrade")
        || !has(&UPGRADE, "websocket")
    {
        return Err((StatusCode::BAD_REQUEST, "unable to upgrade: only websocket is offered"));
    }
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let key = key.ok_or((StatusCode::BAD_REQUEST, "no websocket key"))?;
    let offered: Vec<String> = request
        .headers()
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|part| part.trim().to_owned()))
        .collect();
    let protocol = Protocol::choose(&offered)
        .ok_or((StatusCode::BAD_REQUEST, "none of the websocket protocols is known"))?;
    let stream = inner
        .streams
        .take(request.uri().path())
        .ok_or((StatusCode::NOT_FOUND, "no such stream"))?;
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
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    if let Some(name) = protocol.name() {
        response = response.header(SEC_WEBSOCKET_PROTOCOL, name);
    }
    response
        .body(String::new())
        .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "malformed response"))
}
