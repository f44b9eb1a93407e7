//! Names outside the cluster: asked of the node's own resolvers, and kept for a while.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::cache::Cache;
use super::config::DnsConfig;
use super::message::UDP_BYTES_MAX;

/// How long one resolver may take for one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often each resolver is tried.
const ROUNDS: usize = 2;
/// How often the file with the resolvers is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Resolvers used of the file, as the C library does.
const SERVERS_MAX: usize = 3;
/// Questions under way at a time.
const UNDER_WAY_MAX: usize = 256;
const DNS_PORT: u16 = 53;

/// No resolver answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("no resolver is configured")]
    NoServer,
    #[error("no resolver answered")]
    NoAnswer,
    #[error("too many questions under way")]
    Busy,
}

/// The way to other resolvers.
pub(super) struct Forwarder {
    resolv_conf: PathBuf,
    own: Vec<IpAddr>,
    servers: Mutex<Servers>,
    cache: Mutex<Cache>,
    under_way: Semaphore,
}

#[derive(Default)]
struct Servers {
    looked: Option<Instant>,
    changed: Option<SystemTime>,
    list: Vec<SocketAddr>,
}

impl Forwarder {
    pub(super) fn new(config: &DnsConfig) -> Self {
        Self {
            resolv_conf: config.resolv_conf.clone(),
            own: config.listen.clone(),
            servers: Mutex::default(),
            cache: Mutex::new(Cache::new(config.cache_entries_max, config.cache_ttl_max)),
            under_way: Semaphore::new(UNDER_WAY_MAX),
        }
    }

    /// An answer that is already here.
    pub(super) fn cached(&self, query: &Query, signed: bool) -> Option<Message> {
        self.cache.lock().get(query, signed, Instant::now())
    }

    /// Asks the resolvers in turn.
    pub(super) async fn ask(&self, query: &Query, signed: bool) -> Result<Message, ForwardError> {
        let _place = self.under_way.try_acquire().map_err(|_| ForwardError::Busy)?;
        let servers = self.servers();
        if servers.is_empty() {
            return Err(ForwardError::NoServer);
        }
        for server in std::iter::repeat_n(&servers, ROUNDS).flatten() {
            let answer = tokio::time::timeout(TRY_TIMEOUT, exchange(*server, query, signed)).await;
            if let Ok(Ok((answer, bytes))) = answer {
                self.cache.lock().put(query, signed, &answer, bytes, Instant::now());
                return Ok(answer);
            }
        }
        Err(ForwardError::NoAnswer)
    }

    /// The resolvers as the file names them now.
    fn servers(&self) -> Vec<SocketAddr> {
        let mut servers = self.servers.lock();
        let now = Instant::now();
        if servers.looked.is_some_and(|looked| now - looked < LOOK_EVERY) {
            return servers.list.clone();
        }
        servers.looked = Some(now);
        let changed = std::fs::metadata(&self.resolv_conf).and_then(|meta| meta.modified()).ok();
        if changed.is_none() || changed != servers.changed {
            servers.changed = changed;
            let text = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
            servers.list = parse(&text, &self.own);
        }
        servers.list.clone()
    }
}

/// The resolvers in a resolv.conf, without ourselves: a question must not go round.
fn parse(text: &str, own: &[IpAddr]) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    named
        .filter_map(|word| word.parse::<IpAddr>().ok())
        .filter(|ip| !own.contains(ip))
        .take(SERVERS_MAX)
        .map(|ip| SocketAddr::new(ip, DNS_PORT))
        .collect()
}

async fn exchange(
    server: SocketAddr,
    query: &Query,
    signed: bool,
) -> std::io::Result<(Message, usize)> {
    let mut request = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    request.metadata.recursion_desired = true;
    request.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    edns.set_dnssec_ok(signed);
    request.set_edns(edns);
    let bytes = request.to_vec().map_err(std::io::Error::other)?;
    let (answer, size) = by_udp(server, &request, &bytes).await?;
    if answer.metadata.truncation {
        by_tcp(server, &request, &bytes).await
    } else {
        Ok((answer, size))
    }
}

async fn by_udp(
    server: SocketAddr,
    request: &Message,
    bytes: &[u8],
) -> std::io::Result<(Message, usize)> {
    // A socket, and so a port, of its own for every question; connected, so that nobody else's
    // answer is taken.
    let any: SocketAddr = if server.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let size = socket.recv(&mut buffer).await?;
        if let Some(answer) = fitting(request, &buffer[..size]) {
            return Ok((answer, size));
        }
    }
}

async fn by_tcp(
    server: SocketAddr,
    request: &Message,
    bytes: &[u8],
) -> std::io::Result<(Message, usize)> {
    let mut stream = TcpStream::connect(server).await?;
    let size = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    let mut framed = size.to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await?;
    let size = usize::from(stream.read_u16().await?);
    let mut buffer = vec![0; size];
    stream.read_exact(&mut buffer).await?;
    let answer = fitting(request, &buffer);
    answer.map(|answer| (answer, size)).ok_or_else(|| std::io::Error::other("not our answer"))
}

/// The message, if it answers the request.
fn fitting(request: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let fits = answer.metadata.id == request.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == request.queries;
    fits.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_without_ourselves() {
        let text = "# x\nsearch a\nnameserver 10.0.0.1\nnameserver 192.0.2.1 \noptions ndots:5\n\
                    nameserver fd00::1\nnameserver nonsense\nnameserver 192.0.2.2\nnameserver 192.0.2.3";
        let list = parse(text, &["10.0.0.1".parse().unwrap()]);
        let text: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["192.0.2.1:53", "[fd00::1]:53", "192.0.2.2:53"]);
    }
}
