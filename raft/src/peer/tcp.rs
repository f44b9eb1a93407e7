//! TcpTransport: peers over TCP, with TLS where configured.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
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
    /// Bound.
    pub listener: std::net::TcpListener,
    /// Whether they must speak TLS.
    pub secure: bool,
}

/// Peers over sockets.
#[derive(Debug)]
pub struct TcpTransport {
    listeners: Vec<(TcpListener, bool)>,
    tls: Option<PeerTls>,
    /// Beside one another: a peer that says nothing holds up no other.
    handshakes: Mutex<JoinSet<Handshake>>,
}

/// How a handshake ended, and with whom.
type Handshake = (SocketAddr, io::Result<Connection>);

impl TcpTransport {
    /// Uses bound listeners. Without any nobody can connect, as in a cluster of one.
    pub fn new(listeners: Vec<PeerListener>, tls: Option<PeerTls>) -> io::Result<Self> {
        let listeners = listeners.into_iter().map(|PeerListener { listener, secure }| {
            listener.set_nonblocking(true)?;
            Ok((TcpListener::from_std(listener)?, secure))
        });
        let listeners = listeners.collect::<io::Result<_>>()?;
        Ok(Self { listeners, tls, handshakes: Mutex::new(JoinSet::new()) })
    }

    /// The next connection on any listener, and the TLS that must be spoken on it.
    async fn next(&self) -> io::Result<(TcpStream, SocketAddr, Option<&PeerTls>)> {
        if self.listeners.is_empty() {
            return std::future::pending().await;
        }
        let accepts = self
            .listeners
            .iter()
            .map(|(listener, secure)| Box::pin(async move { (listener.accept().await, *secure) }));
        let ((accepted, secure), ..) = futures::future::select_all(accepts).await;
        let (stream, from) = accepted?;
        stream.set_nodelay(true)?;
        Ok((stream, from, self.tls.as_ref().filter(|_| secure)))
    }

    async fn dial(&self, url: &str) -> io::Result<Connection> {
        let (secure, address) = split_url(url)?;
        let stream = within(CONNECT_TIMEOUT, TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        if !secure {
            return Ok(plain(stream));
        }
        let tls = self.tls.as_ref().ok_or_else(|| invalid("https peer without certificates"))?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(io::Error::other)?;
        let connector = TlsConnector::from(tls.client.clone());
        let stream = within(HANDSHAKE_TIMEOUT, connector.connect(name, stream)).await?;
        let (reader, writer) = tokio::io::split(stream);
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer) })
    }
}

impl Transport for TcpTransport {
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
                        let Some(tls) = tls else { return Ok(plain(stream)) };
                        let acceptor = TlsAcceptor::from(tls.server.clone());
                        handshakes.spawn(handshake(acceptor, stream, from));
                        continue;
                    }
                    Some(Ok(ended)) = handshakes.join_next(), if !handshakes.is_empty() => ended,
                };
                match ended {
                    Ok(connection) => return Ok(connection),
                    Err(error) => tracing::warn!(
                        "remote-addr" = %from,
                        %error,
                        "rejected connection on peer endpoint"
                    ),
                }
            }
        })
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream, from: SocketAddr) -> Handshake {
    let ended = within(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await.map(|stream| {
        let (reader, writer) = tokio::io::split(stream);
        Connection { reader: Box::new(reader), writer: Box::new(writer) }
    });
    (from, ended)
}

fn plain(stream: TcpStream) -> Connection {
    let (reader, writer) = stream.into_split();
    Connection { reader: Box::new(reader), writer: Box::new(writer) }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// `http://host:port` or `https://host:port`.
fn split_url(url: &str) -> io::Result<(bool, &str)> {
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| invalid("a peer URL without scheme"))?;
    let address = rest.split('/').next().unwrap_or(rest);
    match scheme {
        "http" => Ok((false, address)),
        "https" => Ok((true, address)),
        _ => Err(invalid("a peer URL must be http or https")),
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
