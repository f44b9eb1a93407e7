//! The client ports: gRPC and HTTP on one listener, plain, TLS or both.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use keelson_http2::PREFACE;
use keelson_raft::Node;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use crate::auth::Credentials;
use crate::begun::Begun;
use crate::client::Client;
use crate::face::{EtcdFace, FaceConfig};
use crate::http::{HttpConfig, Serves, Site};
use crate::tls;

/// How long a client may take for its TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long requests may go on once the server stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// After a failure to accept (no descriptors left), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first byte that a TLS client sends.
const TLS_HANDSHAKE: u8 = 0x16;

/// Where and how to serve.
pub struct EtcdConfig {
    /// Bound sockets, and what is said on them.
    pub ports: Vec<Port>,
    /// Limits of requests.
    pub face: FaceConfig,
    /// How HTTP is spoken.
    pub http: HttpConfig,
}

/// A bound socket and what is said on it.
pub struct Port {
    /// The socket.
    pub listener: Listener,
    /// Without it the port is plain.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether plain clients are served beside those of TLS; without `tls` they always are.
    pub plain: bool,
    /// What is answered.
    pub serves: Serves,
}

impl Port {
    /// A port that serves everything, either plain or by TLS.
    pub fn new(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = Listener::Tcp(listener);
        Self { listener, plain: tls.is_none(), tls, serves: Serves::Everything }
    }
}

/// A bound socket.
pub enum Listener {
    /// On a network.
    Tcp(TcpListener),
    /// In the file system, of this machine alone.
    Unix(UnixListener),
}

/// What a connection shows of its client: a certificate that the handshake has verified, where its
/// name is a user's. An extension of gRPC requests; calls through the JSON gateway never have it.
#[derive(Debug, Clone)]
pub(crate) struct Certificate(pub(crate) Arc<Credentials>);

enum Socket {
    Tcp(TcpStream, String),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (socket, from) = listener.accept().await?;
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                Ok(Socket::Tcp(socket, from.to_string()))
            }
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }

    fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
            }
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(String::new, |path| path.display().to_string())
            }
        }
    }
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
    let (watched, until) = (face.clone(), stop.clone());
    tasks.spawn(async move {
        until.run_until_cancelled(watched.watch_leader()).await;
    });
    for port in config.ports {
        let site = Site::new(face.clone(), config.http.clone(), port.serves, stop.clone());
        tasks.spawn(accept(port, Arc::new(site), stop.clone()));
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

async fn accept(port: Port, site: Arc<Site>, stop: CancellationToken) {
    let Port { listener, tls, plain, serves } = port;
    if matches!(serves, Serves::Everything | Serves::Grpc) {
        let (address, traffic) = (listener.address(), traffic(serves));
        match tls {
            Some(_) => tracing::info!(traffic, address, "serving client traffic securely"),
            None => tracing::info!(
                traffic,
                address,
                "serving client traffic insecurely; this is strongly discouraged!"
            ),
        }
    }
    let tls = tls.map(TlsAcceptor::from);
    let plain = plain || tls.is_none();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(socket) => {
                let connection = Connection { site: site.clone(), stop: stop.clone() };
                connections.spawn(connection.run(socket, tls.clone(), plain));
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

fn traffic(serves: Serves) -> &'static str {
    match serves {
        Serves::Everything => "grpc+http",
        Serves::Grpc => "grpc",
        Serves::Http | Serves::Metrics => "http",
    }
}

struct Connection {
    site: Arc<Site>,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, socket: Socket, tls: Option<TlsAcceptor>, plain: bool) {
        match socket {
            Socket::Tcp(socket, from) => {
                // Both on one port: the first byte tells.
                let tls = match tls {
                    Some(_) if plain && !begins_tls(&socket).await => None,
                    tls => tls,
                };
                self.secured(socket, tls, &from).await;
            }
            Socket::Unix(socket) => self.secured(socket, tls, "@").await,
        }
    }

    async fn secured<S>(self, socket: S, tls: Option<TlsAcceptor>, from: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = tls else {
            return self.http(socket, false, None, from).await;
        };
        match tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(socket)).await {
            Ok(Ok(socket)) => {
                let shown = socket.get_ref().1.peer_certificates();
                let client = match self.site.config().client_cert_auth {
                    true => shown.and_then(tls::common_name).map(Credentials::Certificate),
                    false => None,
                };
                let client = client.map(|client| Certificate(Arc::new(client)));
                self.http(socket, true, client, from).await;
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    "remote-addr" = from,
                    %error,
                    "rejected connection on client endpoint"
                );
            }
            Err(_) => tracing::warn!(
                "remote-addr" = from,
                error = "no handshake in time",
                "rejected connection on client endpoint"
            ),
        }
    }

    async fn http<S>(self, socket: S, secure: bool, client: Option<Certificate>, from: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { site, stop } = self;
        let mut socket = Begun::new(socket);
        let begins = stop.run_until_cancelled(socket.begins_with(PREFACE)).await;
        let remote: Arc<str> = from.into();
        let ended = match begins {
            None => return,
            Some(Ok(true)) => {
                let config = site.config().connection();
                let (socket, first) = socket.into_parts();
                let service = Client::new(site, secure, client, remote);
                let mut connection =
                    keelson_http2::Connection::new(socket, &first, service, config);
                let ended = tokio::select! {
                    ended = &mut connection => ended,
                    () = stop.cancelled() => {
                        connection.graceful_shutdown();
                        connection.await
                    }
                };
                ended.map_err(|error| error.to_string())
            }
            Some(Ok(false)) => {
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let (site, client, remote) = (site.clone(), client.clone(), remote.clone());
                    let request = request.map(Body::new);
                    async move {
                        Ok::<_, Infallible>(site.answer(request, secure, client, &remote).await)
                    }
                });
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new());
                let connection = builder.serve_connection(TokioIo::new(socket), service);
                let connection = connection.with_upgrades();
                tokio::pin!(connection);
                let ended = tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                ended.map_err(|error| error.to_string())
            }
            Some(Err(error)) => Err(error.to_string()),
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a client connection ended");
        }
    }
}

async fn begins_tls(socket: &TcpStream) -> bool {
    let mut first = [0; 1];
    let peeked = tokio::time::timeout(HANDSHAKE_LIMIT, socket.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first[0] == TLS_HANDSHAKE
}
