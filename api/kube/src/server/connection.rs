//! Connections: TLS with optional client certificates, then HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::request_body;
use crate::context::Context;
use crate::handler;

/// A client that does not finish its handshake in this time is dropped.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Connections may finish what they do for this long when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 1000;
/// Names and values of a request's headers, as Go's server has it.
const HEADERS_BYTES_MAX: u32 = 1 << 20;
/// The answer to a request without TLS.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// A pause after an accept that failed, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The certificate the client of a connection proved to hold, as DER.
#[derive(Clone)]
pub(crate) struct PeerCertificate(pub(crate) Arc<[u8]>);

/// Serves connections until `token` is cancelled.
pub(crate) async fn serve(
    context: Arc<Context>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    token: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = token.cancelled() => break,
        };
        let (context, acceptor) = (context.clone(), acceptor.clone());
        let stop = token.clone();
        connections.spawn(async move {
            let Some((io, peer)) = shake_hands(stream, &acceptor).await else { return };
            let service = service_fn(move |request: http::Request<Incoming>| {
                let context = context.clone();
                let mut request = request.map(request_body);
                if let Some(peer) = &peer {
                    request.extensions_mut().insert(peer.clone());
                }
                async move { Ok::<_, Infallible>(handler::handle(&context, request).await) }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new());
            builder
                .http2()
                .timer(TokioTimer::new())
                .max_header_list_size(HEADERS_BYTES_MAX)
                .max_concurrent_streams(STREAMS_MAX);
            let connection =
                builder.serve_connection_with_upgrades(TokioIo::new(io), service).into_owned();
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    connections.close();
    if tokio::time::timeout(DRAIN_MAX, connections.wait()).await.is_err() {
        tracing::debug!("connections were still open when the server stopped");
    }
}

async fn shake_hands(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
) -> Option<(tokio_rustls::server::TlsStream<TcpStream>, Option<PeerCertificate>)> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    match tokio::time::timeout(HANDSHAKE_MAX, accept(stream, acceptor)).await {
        Ok(Ok(io)) => {
            let certificates = io.get_ref().1.peer_certificates();
            let peer = certificates
                .and_then(|all| all.first())
                .map(|first| PeerCertificate(Arc::from(first.as_ref())));
            Some((io, peer))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// The handshake; a client that does not even try is told so, in the words of Go's server.
async fn accept(
    mut stream: TcpStream,
    acceptor: &TlsAcceptor,
) -> std::io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    let mut first = [0; 1];
    stream.peek(&mut first).await?;
    if first[0].is_ascii_uppercase() {
        stream.write_all(NOT_TLS).await?;
        stream.shutdown().await?;
        // Closing with bytes unread would take the answer back.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
        return Err(std::io::Error::other("the client speaks plain HTTP"));
    }
    acceptor.accept(stream).await
}
