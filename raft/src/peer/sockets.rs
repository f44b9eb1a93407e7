//! SocketTransport: peers over TCP or unix sockets, with TLS where configured.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::transport::{Connection, Transport};
use crate::types::Member;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Certificates of the peer transport.
#[derive(Debug, Clone)]
pub struct PeerTls {
    /// For connections that this member makes.
    pub client: Arc<rustls::ClientConfig>,
    /// For connections that it accepts.
    pub server: Arc<rustls::ServerConfig>,
}

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
type Handshake = (String, io::Result<Connection>);

impl Listening {
    async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), from.to_string()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), "unix".to_owned()))
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
    async fn next(&self) -> io::Result<(Stream, String, Option<&PeerTls>)> {
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
            let stream = within(CONNECT_TIMEOUT, TcpStream::connect(address)).await?;
            stream.set_nodelay(true)?;
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
                        let acceptor = TlsAcceptor::from(tls.server.clone());
                        handshakes.spawn(handshake(acceptor, stream, from));
                        continue;
                    }
                    Some(Ok(ended)) = handshakes.join_next(), if !handshakes.is_empty() => ended,
                };
                match ended {
                    Ok(connection) => return Ok(connection),
                    Err(error) => tracing::warn!(
                        "remote-addr" = from,
                        %error,
                        "rejected connection on peer endpoint"
                    ),
                }
            }
        })
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: Stream, from: String) -> Handshake {
    let ended = within(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
    (from, ended.map(secured))
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
