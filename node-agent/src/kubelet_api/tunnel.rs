//! Port forwarding in a tunnel: SPDY in the messages of a WebSocket, which is how kubectl asks for it.
//!
//! Runtimes speak SPDY itself; here its bytes go from messages to the runtime's connection and back.
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::stream::ask;

/// The WebSocket protocol.
// upstream: port forwarding, "SPDY/3.1+portforward.k8s.io"
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// What the runtime is asked for.
const SPDY: HeaderValue = HeaderValue::from_static("SPDY/3.1");
const PROTOCOL_HEADER: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const PROTOCOL: HeaderValue = HeaderValue::from_static("portforward.k8s.io");

/// Whether a request asks for a tunnel.
pub(super) fn wanted(request: &Request) -> bool {
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    offered
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|name| name.trim() == TUNNEL))
}

/// Opens SPDY at the runtime's `url`, then accepts the WebSocket.
pub(super) async fn open(url: &str, mut request: Request) -> Result<Response, String> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).ok_or("no websocket key")?;
    let accept = derive_accept_key(key.as_bytes());
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, SPDY);
    headers.insert(PROTOCOL_HEADER, PROTOCOL);
    let mut answer = ask(url, Method::POST, headers).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (head, body) = answer.into_parts();
        return Ok(Response::from_parts(head, Body::new(body)));
    }
    let (client, runtime) = (hyper::upgrade::on(&mut request), hyper::upgrade::on(&mut answer));
    tokio::spawn(async move {
        if let Err(error) = carry(client, runtime).await {
            tracing::debug!(%error, "port forwarding ended");
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(header::SEC_WEBSOCKET_PROTOCOL, TUNNEL)
        .body(Body::empty())
        .map_err(|error| error.to_string())
}

/// Why a tunnel broke off.
#[derive(Debug, thiserror::Error)]
enum TunnelError {
    #[error(transparent)]
    Upgrade(#[from] hyper::Error),
    #[error(transparent)]
    WebSocket(#[from] Error),
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
}

/// Copies until one side ends.
async fn carry(client: OnUpgrade, runtime: OnUpgrade) -> Result<(), TunnelError> {
    let (client, runtime): (Upgraded, Upgraded) = (client.await?, runtime.await?);
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, None).await;
    let (mut messages_out, mut messages) = socket.split();
    let (mut from_runtime, mut to_runtime) = tokio::io::split(TokioIo::new(runtime));
    let up = async {
        while let Some(message) = messages.next().await {
            match message? {
                Message::Binary(bytes) => {
                    to_runtime.write_all(&bytes).await?;
                    to_runtime.flush().await?;
                }
                Message::Close(_) => break,
                _ => {} // text carries no SPDY; pings are answered by the library
            }
        }
        to_runtime.shutdown().await?;
        Ok::<_, TunnelError>(())
    };
    let down = async {
        let mut buffer = vec![0; 32 << 10];
        loop {
            let length = from_runtime.read(&mut buffer).await?;
            if length == 0 {
                break;
            }
            messages_out.send(Message::Binary(buffer[..length].to_vec().into())).await?;
        }
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        messages_out.send(Message::Close(Some(frame))).await?;
        Ok::<_, TunnelError>(())
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}
