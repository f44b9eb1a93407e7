//! Calls over WebSocket: each message is a line of the request, each line of the answer a message.
// upstream: etcd v3, grpc-websocket-proxy in front of the gateway

use std::convert::Infallible;

use ::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::call::Gateway;
use crate::grpc::{Incoming, Outgoing};

/// Messages of a client that wait for the method.
const QUEUE: usize = 16;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether the client wants to change to WebSocket.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    let holds = |name: header::HeaderName, wanted: &str| {
        let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        texts
            .flat_map(|text| text.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    holds(header::CONNECTION, "upgrade") && holds(header::UPGRADE, "websocket")
}

/// Agrees, and calls the method once the connection is changed.
pub(super) fn upgrade(
    gateway: Gateway,
    stop: CancellationToken,
    mut request: Incoming,
) -> Outgoing {
    let mut response = Response::new(Body::default());
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.extend(accept.ok().map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));

    let mut forwarded = HeaderMap::new();
    if let Some(protocol) = request.headers().get(header::SEC_WEBSOCKET_PROTOCOL) {
        let text = protocol.to_str().unwrap_or_default();
        if text.starts_with("Bearer") {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer"));
        }
        let token = text.split_once("Bearer,").map_or("", |(_, token)| token.trim());
        forwarded.extend(
            HeaderValue::from_str(&format!("Bearer {token}"))
                .ok()
                .filter(|_| !token.is_empty())
                .map(|token| (header::AUTHORIZATION, token)),
        );
    }
    forwarded.extend(
        request
            .headers()
            .get(header::AUTHORIZATION)
            .map(|token| (header::AUTHORIZATION, token.clone())),
    );
    let path = request.uri().path().to_owned();
    tokio::spawn(async move {
        let upgraded = match hyper::upgrade::on(&mut request).await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return tracing::debug!(%error, "a WebSocket client left"),
        };
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
        let (mut sink, stream) = socket.split();
        let (messages, received) = mpsc::channel(QUEUE);
        tokio::select! {
            () = read(stream, messages) => {}
            () = write(&mut sink, gateway, &path, &forwarded, received) => {}
            () = stop.cancelled() => {}
        }
        let _client_gone = sink.close().await;
    });
    response
}

/// Until the client leaves.
async fn read(mut stream: SplitStream<Socket>, messages: mpsc::Sender<Bytes>) {
    while let Some(Ok(message)) = stream.next().await {
        let text = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        for part in [text, Bytes::from_static(b"\n")] {
            // The method reads no more, but may still have something to say.
            let _unread = messages.send(part).await;
        }
    }
}

/// Until the method ends.
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    gateway: Gateway,
    path: &str,
    headers: &HeaderMap,
    received: mpsc::Receiver<Bytes>,
) {
    let received = ReceiverStream::new(received).map(|part| Ok::<_, Infallible>(Frame::data(part)));
    let body = Body::new(StreamBody::new(received));
    let mut answer = gateway.call(path, headers, body).await.into_body();
    let mut waiting = BytesMut::new();
    while let Some(Ok(piece)) = answer.frame().await {
        let Ok(data) = piece.into_data() else { continue };
        waiting.extend_from_slice(&data);
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            let line = waiting.split_to(end + 1);
            if !send(sink, &line[..end]).await {
                return;
            }
        }
    }
    if !waiting.is_empty() {
        send(sink, &waiting).await;
    }
}

async fn send(sink: &mut SplitSink<Socket, Message>, line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line).into_owned();
    sink.send(Message::text(text)).await.is_ok()
}
