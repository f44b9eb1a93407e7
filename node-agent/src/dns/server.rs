//! The DNS server: sockets, and the way from a question to its answer.

use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use rand::seq::SliceRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::config::DnsConfig;
use super::forward::Forwarder;
use super::message::{Content, Question, Refusal, Transport, read};
use super::zone::{Answer, Zone};
use crate::network::services::Catalog;

/// Aliases followed for one question.
const ALIASES_MAX: usize = 8;
/// Open TCP connections.
const CONNECTIONS_MAX: usize = 256;
/// How long a TCP connection may be silent.
const CONNECTION_IDLE: Duration = Duration::from_secs(10);
/// Questions by UDP that wait for other resolvers; more are dropped, and clients ask again.
const WAITING_MAX: usize = 512;

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// No port is free on all addresses.
    #[error("cluster DNS cannot listen on {address}: {source}")]
    Listen {
        /// What was tried last.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The settings name no address or no port.
    #[error("cluster DNS has nothing to listen on")]
    NoAddress,
    /// The domain is not one.
    #[error("cluster domain {0:?} is not a domain name")]
    Domain(String),
}

/// A server that listens already, and answers once it runs.
pub struct DnsServer {
    port: u16,
    sockets: Vec<(UdpSocket, TcpListener)>,
    resolver: Arc<Resolver>,
}

/// From a question to its answer.
struct Resolver {
    zone: Zone,
    forwarder: Forwarder,
}

impl DnsServer {
    /// Binds the addresses.
    pub async fn bind(config: DnsConfig, catalog: Arc<Catalog>) -> Result<Self, DnsError> {
        let mut origin = Name::from_ascii(config.domain.trim_end_matches('.'))
            .ok()
            .filter(|name| !name.is_root())
            .ok_or_else(|| DnsError::Domain(config.domain.clone()))?;
        origin.set_fqdn(true);
        let mut failure = DnsError::NoAddress;
        for port in &config.ports {
            match bind_all(&config.listen, *port).await {
                Ok(sockets) if sockets.is_empty() => {}
                Ok(sockets) => {
                    let serial = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    let serial = u32::try_from(serial.as_secs()).unwrap_or(u32::MAX);
                    let forwarder = Forwarder::new(&config);
                    let zone = Zone::new(catalog, origin, config.own_ranges, serial);
                    let resolver = Arc::new(Resolver { zone, forwarder });
                    return Ok(Self { port: *port, sockets, resolver });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The port that it listens on, on all addresses and by UDP and TCP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers until `token` is cancelled.
    pub fn run(self, token: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut tasks = JoinSet::new();
            for (udp, tcp) in self.sockets {
                tasks.spawn(serve_udp(Arc::new(udp), Arc::clone(&self.resolver)));
                tasks.spawn(serve_tcp(tcp, Arc::clone(&self.resolver)));
            }
            token.cancelled().await;
        })
    }
}

async fn bind_all(
    addresses: &[IpAddr],
    port: u16,
) -> Result<Vec<(UdpSocket, TcpListener)>, DnsError> {
    let mut sockets = Vec::new();
    for ip in addresses {
        let address = SocketAddr::new(*ip, port);
        let failed = |source| DnsError::Listen { address, source };
        let udp = UdpSocket::bind(address).await.map_err(failed)?;
        sockets.push((udp, TcpListener::bind(address).await.map_err(failed)?));
    }
    Ok(sockets)
}

async fn serve_udp(socket: Arc<UdpSocket>, resolver: Arc<Resolver>) {
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    let mut buffer = vec![0; 4096];
    loop {
        let (size, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // A refused answer of an earlier client comes back here; the socket is fine.
                tracing::trace!(%error, "cluster DNS socket");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let question = match read(&buffer[..size], Transport::Udp) {
            Ok(question) => question,
            Err(Refusal::Silence) => continue,
            Err(Refusal::Reply(reply)) => {
                let _ = socket.send_to(&reply, from).await;
                continue;
            }
        };
        if let Some(content) = resolver.at_once(&question) {
            let _ = socket.send_to(&question.reply(content, Transport::Udp), from).await;
            continue;
        }
        let Ok(place) = Arc::clone(&waiting).try_acquire_owned() else { continue };
        let (socket, resolver) = (Arc::clone(&socket), Arc::clone(&resolver));
        tokio::spawn(async move {
            let content = resolver.resolve(&question).await;
            let _ = socket.send_to(&question.reply(content, Transport::Udp), from).await;
            drop(place);
        });
    }
}

async fn serve_tcp(listener: TcpListener, resolver: Arc<Resolver>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let resolver = Arc::clone(&resolver);
                tokio::spawn(async move {
                    let _ = converse(stream, &resolver).await;
                    drop(place);
                });
            }
            // Out of file descriptors, most likely: give others time to close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers the questions of one connection, one after another.
async fn converse(mut stream: TcpStream, resolver: &Resolver) -> io::Result<()> {
    loop {
        let next = async {
            let size = usize::from(stream.read_u16().await?);
            let mut bytes = vec![0; size];
            stream.read_exact(&mut bytes).await?;
            io::Result::Ok(bytes)
        };
        let bytes = tokio::time::timeout(CONNECTION_IDLE, next).await??;
        let reply = match read(&bytes, Transport::Tcp) {
            Ok(question) => question.reply(resolver.resolve(&question).await, Transport::Tcp),
            Err(Refusal::Reply(reply)) => reply,
            Err(Refusal::Silence) => return Ok(()),
        };
        let size = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let mut framed = size.to_be_bytes().to_vec();
        framed.extend_from_slice(&reply);
        let sent = tokio::time::timeout(CONNECTION_IDLE, stream.write_all(&framed));
        sent.await??;
    }
}

impl Resolver {
    /// The answer, if nobody else has to be asked for it.
    fn at_once(&self, question: &Question) -> Option<Content> {
        match self.zone.lookup(&question.query.name, question.query.query_type) {
            Answer::Alias(..) => None,
            Answer::NotOurs => {
                self.forwarder.cached(&question.query, question.signed).map(Content::from)
            }
            answer => Some(self.local(answer)),
        }
    }

    /// The answer, whoever has it.
    async fn resolve(&self, question: &Question) -> Content {
        let kind = question.query.query_type;
        let mut aliases = Vec::new();
        let mut seen = BTreeSet::new();
        let mut query = question.query.clone();
        loop {
            let answer = self.zone.lookup(&query.name, kind);
            let mut content = match answer {
                Answer::Alias(record, target) => {
                    aliases.push(*record);
                    let goes_on = kind != RecordType::CNAME
                        && aliases.len() < ALIASES_MAX
                        && seen.insert(target.to_lowercase());
                    if goes_on {
                        query = Query::query(target, kind);
                        continue;
                    }
                    Content { authoritative: true, ..Content::code(ResponseCode::NoError) }
                }
                Answer::NotOurs => {
                    self.elsewhere(&query, question.signed, aliases.is_empty()).await
                }
                answer => self.local(answer),
            };
            if !aliases.is_empty() {
                aliases.append(&mut content.answers);
                content.answers = aliases;
            }
            return content;
        }
    }

    async fn elsewhere(&self, query: &Query, signed: bool, is_first: bool) -> Content {
        if let Some(answer) = self.forwarder.cached(query, signed) {
            return answer.into();
        }
        match self.forwarder.ask(query, signed).await {
            Ok(answer) => answer.into(),
            Err(error) => {
                tracing::debug!(name = %query.name, %error, "cluster DNS cannot resolve");
                // An alias is an answer of its own, even when nobody knows where it leads.
                Content::code(if is_first { ResponseCode::ServFail } else { ResponseCode::NoError })
            }
        }
    }

    fn local(&self, answer: Answer) -> Content {
        if !self.zone.is_ready() {
            return Content::code(ResponseCode::ServFail);
        }
        let mut content = Content::code(ResponseCode::NoError);
        content.authoritative = true;
        match answer {
            Answer::Records(mut records, additionals) => {
                // Clients that take the first address spread over all of them.
                records.shuffle(&mut rand::rng());
                content.answers = records;
                content.additionals = additionals;
            }
            Answer::NoName => {
                content.code = ResponseCode::NXDomain;
                content.authorities.push(self.zone.soa());
            }
            Answer::NoData | Answer::NotOurs | Answer::Alias(..) => {
                content.authorities.push(self.zone.soa());
            }
        }
        content
    }
}

impl From<hickory_proto::op::Message> for Content {
    fn from(answer: hickory_proto::op::Message) -> Self {
        Self {
            code: answer.metadata.response_code,
            authoritative: false,
            answers: answer.answers,
            authorities: answer.authorities,
            additionals: Vec::new(),
        }
    }
}
