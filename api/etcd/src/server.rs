//! The client port: gRPC and HTTP/1 on one listener, plain or TLS.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use keelson_raft::Node;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::auth::Credentials;
use crate::face::{EtcdFace, FaceConfig};
use crate::routes::route;

/// How long a client may take for its TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long requests may go on once the server stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// After a failure to accept (no descriptors left), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a client may send on one stream, and on a connection, ahead of being read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Where and how to serve.
pub struct EtcdConfig {
    /// Bound sockets.
    pub listeners: Vec<TcpListener>,
    /// Without it the port is plain.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Limits of requests.
    pub face: FaceConfig,
}

/// A running server; dropping it does not stop it.
pub struct EtcdServer {
    face: EtcdFace,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Serves the etcd API of `node`.
pub fn serve(config: EtcdConfig, node: Node) -> EtcdServer {
    let face = EtcdFace::with_config(node, config.face);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let tls = config.tls.map(TlsAcceptor::from);
    for listener in config.listeners {
        tasks.spawn(accept(listener, tls.clone(), face.unknown(), stop.clone()));
    }
    EtcdServer { face, stop, tasks }
}

impl EtcdServer {
    /// The same store without the port.
    pub fn face(&self) -> EtcdFace {
        self.face.clone()
    }

    /// Accepts nothing more, lets requests finish for a moment, and ends the rest.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    face: EtcdFace,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                connections.spawn(connection(socket, tls.clone(), face.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a client connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_LIMIT, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    face: EtcdFace,
    stop: CancellationToken,
) {
    let peer = socket.peer_addr().ok();
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let Some(tls) = tls else {
        return http(socket, None, face, stop).await;
    };
    match tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(socket)).await {
        Ok(Ok(socket)) => {
            let chain = socket.get_ref().1.peer_certificates();
            let certificate = chain.and_then(|chain| Certificate::of(chain.first()?));
            http(socket, certificate, face, stop).await;
        }
        Ok(Err(error)) => {
            tracing::warn!(remote = ?peer, %error, "rejected connection on client endpoint");
        }
        Err(_) => {
            tracing::warn!(remote = ?peer, "rejected connection on client endpoint: no handshake")
        }
    }
}

/// What a connection shows of its client: a certificate that the handshake has verified.
#[derive(Debug, Clone)]
pub(crate) struct Certificate(pub(crate) Arc<Credentials>);

impl Certificate {
    fn of(certificate: &rustls::pki_types::CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
        Some(Self(Arc::new(Credentials::Certificate(name.to_owned()))))
    }
}

async fn http<S>(
    socket: S,
    certificate: Option<Certificate>,
    face: EtcdFace,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(u32::MAX)
        .auto_date_header(false)
        .keep_alive_interval(Duration::from_secs(7200))
        .keep_alive_timeout(Duration::from_secs(20));
    builder.http1().timer(TokioTimer::new());
    let service = service_fn(move |mut request| {
        let face = face.clone();
        if let Some(certificate) = &certificate {
            hyper::Request::extensions_mut(&mut request).insert(certificate.clone());
        }
        async move { Ok::<_, Infallible>(route(face, request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client connection ended");
    }
}
