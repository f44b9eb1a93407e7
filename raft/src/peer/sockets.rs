//! SocketTransport: peers over TCP or unix sockets, with TLS where configured.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::transport::{Connection, Transport};
use crate::types::Member;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// What was sent and nobody has received for so long ends a connection. After a cut that lasted the
/// kernel's own next try may be minutes away: a new connection is there at once.
const UNRECEIVED_MAX: Duration = Duration::from_secs(10);

/// Certificates of the peer transport.
#[derive(Debug, Clone)]
pub struct PeerTls {
    /// For connections that this member makes.
    pub client: Arc<rustls::ClientConfig>,
    /// For connections that it accepts.
    pub server: Arc<rustls::ServerConfig>,
    /// Looks at the certificate of whoever connects, and at where that is.
    pub check: Option<PeerCheck>,
    /// Connections are made from this address.
    pub local: Option<IpAddr>,
}

/// Whether a certificate may be shown from an address; the reason where it may not.
pub type PeerCheck = fn(CertificateDer<'static>, IpAddr) -> BoxFuture<'static, Result<(), String>>;

/// Where other members connect.
#[derive(Debug)]
pub struct PeerListener {
    /// The socket.
    pub socket: PeerSocket,
    /// Whether they must speak TLS.
    pub secure: bool,
}

/// A bound socket.
#[derive(Debug)]
pub enum PeerSocket {
    /// With an address and a port.
    Tcp(std::net::TcpListener),
    /// In the file system.
    Unix(std::os::unix::net::UnixListener),
}

/// Peers over sockets.
#[derive(Debug)]
pub struct SocketTransport {
    listeners: Vec<(Listening, bool)>,
    tls: Option<PeerTls>,
    /// Beside one another: a peer that says nothing holds up no other.
    handshakes: Mutex<JoinSet<Handshake>>,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection, plain so far.
type Stream = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// Both directions, without a lock between them.
    fn halves(self: Box<Self>) -> Connection;
}

impl Duplex for TcpStream {
    fn halves(self: Box<Self>) -> Connection {
        let (reader, writer) = self.into_split();
        Connection { reader: Box::new(reader), writer: Box::new(writer) }
    }
}

impl Duplex for UnixStream {
    fn halves(self: Box<Self>) -> Connection {
        let (reader, writer) = self.into_split();
        Connection { reader: Box::new(reader), writer: Box::new(writer) }
    }
}

/// How a handshake ended, and with whom.
type Handshake = (From, io::Result<Connection>);

/// Where a connection comes from; `None`: over a unix socket.
type From = Option<SocketAddr>;

impl Listening {
    async fn accept(&self) -> io::Result<(Stream, From)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                prepare(&stream)?;
                Ok((Box::new(stream), Some(from)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), None))
            }
        }
    }
}

impl SocketTransport {
    /// Uses bound listeners. Without any nobody can connect, as in a cluster of one.
    pub fn new(listeners: Vec<PeerListener>, tls: Option<PeerTls>) -> io::Result<Self> {
        let listeners = listeners.into_iter().map(|PeerListener { socket, secure }| {
            let listening = match socket {
                PeerSocket::Tcp(listener) => {
                    listener.set_nonblocking(true)?;
                    Listening::Tcp(TcpListener::from_std(listener)?)
                }
                PeerSocket::Unix(listener) => {
                    listener.set_nonblocking(true)?;
                    Listening::Unix(UnixListener::from_std(listener)?)
                }
            };
            Ok((listening, secure))
        });
        let listeners = listeners.collect::<io::Result<_>>()?;
        Ok(Self { listeners, tls, handshakes: Mutex::new(JoinSet::new()) })
    }

    /// The next connection on any listener, and the TLS that must be spoken on it.
    async fn next(&self) -> io::Result<(Stream, From, Option<&PeerTls>)> {
        if self.listeners.is_empty() {
            return std::future::pending().await;
        }
        let accepts = self
            .listeners
            .iter()
            .map(|(listener, secure)| Box::pin(async move { (listener.accept().await, *secure) }));
        let ((accepted, secure), ..) = futures::future::select_all(accepts).await;
        let (stream, from) = accepted?;
        Ok((stream, from, self.tls.as_ref().filter(|_| secure)))
    }

    async fn dial(&self, url: &str) -> io::Result<Connection> {
        let Place { secure, unix, address } = Place::of(url)?;
        let stream: Stream = if unix {
            Box::new(within(CONNECT_TIMEOUT, UnixStream::connect(address)).await?)
        } else {
            let from = self.tls.as_ref().and_then(|tls| tls.local);
            let stream = within(CONNECT_TIMEOUT, connect_from(from, address)).await?;
            prepare(&stream)?;
            Box::new(stream)
        };
        if !secure {
            return Ok(stream.halves());
        }
        let tls = self.tls.as_ref().ok_or_else(|| invalid("https peer without certificates"))?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = if unix { "localhost" } else { host.trim_matches(['[', ']']) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(tls.client.clone());
        Ok(secured(within(HANDSHAKE_TIMEOUT, connector.connect(name, stream)).await?))
    }
}

impl Transport for SocketTransport {
    fn connect<'a>(
        &'a self,
        _id: u64,
        member: &'a Member,
    ) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            let mut last = invalid("the member has no peer address");
            for url in &member.peer_urls {
                match self.dial(url).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let mut handshakes = self.handshakes.lock().await;
            loop {
                let (from, ended) = tokio::select! {
                    accepted = self.next() => {
                        let (stream, from, tls) = accepted?;
                        let Some(tls) = tls else { return Ok(stream.halves()) };
                        handshakes.spawn(handshake(tls.clone(), stream, from));
                        continue;
                    }
                    Some(Ok(ended)) = handshakes.join_next(), if !handshakes.is_empty() => ended,
                };
                match ended {
                    Ok(connection) => return Ok(connection),
                    Err(error) => tracing::warn!(
                        "remote-addr" = from.map(tracing::field::display),
                        %error,
                        "rejected connection on peer endpoint"
                    ),
                }
            }
        })
    }
}

async fn handshake(tls: PeerTls, stream: Stream, from: From) -> Handshake {
    let ended = within(HANDSHAKE_TIMEOUT, async {
        let stream = TlsAcceptor::from(tls.server.clone()).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        if let (Some(check), Some(shown), Some(from)) = (tls.check, shown, from) {
            let checked = check(shown.clone().into_owned(), from.ip()).await;
            checked.map_err(io::Error::other)?;
        }
        Ok(secured(stream))
    });
    (from, ended.await)
}

/// What every connection between members has set.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(UNRECEIVED_MAX.as_millis()).unwrap_or(u32::MAX);
    Ok(setsockopt(stream, TcpUserTimeout, &millis)?)
}

/// Connects, from an address of choice.
async fn connect_from(from: Option<IpAddr>, to: &str) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(to).await };
    let mut last = invalid("a peer URL whose host has no address of that kind");
    for to in tokio::net::lookup_host(to).await?.filter(|to| to.is_ipv4() == from.is_ipv4()) {
        let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(from, 0))?;
        match socket.connect(to).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn secured(stream: impl AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static) -> Connection {
    let (reader, writer) = tokio::io::split(stream);
    Connection { reader: Box::new(reader), writer: Box::new(writer) }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Where a URL leads.
struct Place<'a> {
    secure: bool,
    unix: bool,
    /// `host:port`, or a path.
    address: &'a str,
}

impl<'a> Place<'a> {
    fn of(url: &'a str) -> io::Result<Self> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| invalid("a peer URL without scheme"))?;
        let host = rest.split('/').next().unwrap_or(rest);
        match scheme {
            "http" => Ok(Self { secure: false, unix: false, address: host }),
            "https" => Ok(Self { secure: true, unix: false, address: host }),
            "unix" => Ok(Self { secure: false, unix: true, address: rest }),
            "unixs" => Ok(Self { secure: true, unix: true, address: rest }),
            _ => Err(invalid("a peer URL must be http, https, unix or unixs")),
        }
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
