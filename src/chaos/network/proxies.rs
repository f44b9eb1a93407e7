//! A proxy on loopback before each member's peer port. What a link does to packets, it does to the
//! bytes of connections: those of a cut link wait until it is whole again, as they would in the
//! buffers of a kernel; a lost packet comes late, when it would have been sent again.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rand::Rng as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Addresses, Links, good, sources};
use crate::bench::ports;

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;
/// Bytes of a connection that are on their way at once; then its sender waits.
const UNDERWAY_MAX: usize = 64;
/// When a lost packet is sent again.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// One proxy a member.
pub struct Proxies {
    addresses: Vec<Addresses>,
    links: watch::Sender<Links>,
    pids: Arc<Mutex<Vec<(usize, u32)>>>,
    /// Ended when dropped.
    _tasks: JoinSet<()>,
}

impl Proxies {
    /// Starts them.
    pub async fn new(members: usize) -> Result<Self> {
        let ports = ports::free(members * 4)?;
        let links = watch::Sender::new(good(members));
        let pids = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for (member, ports) in ports.chunks_exact(4).enumerate() {
            let peer_listen = SocketAddr::from(([127, 0, 0, 1], ports[1]));
            let listener = TcpListener::bind(("127.0.0.1", ports[2])).await?;
            addresses.push(Addresses {
                client: format!("http://127.0.0.1:{}", ports[0]),
                peer_listen: format!("http://{peer_listen}"),
                peer: format!("http://127.0.0.1:{}", ports[2]),
                failpoints: format!("127.0.0.1:{}", ports[3]),
            });
            tasks.spawn(accept(
                listener,
                member,
                peer_listen,
                Arc::clone(&pids),
                links.subscribe(),
            ));
        }
        Ok(Self { addresses, links, pids, _tasks: tasks })
    }

    /// Where a member is.
    pub fn addresses(&self, member: usize) -> Addresses {
        self.addresses[member].clone()
    }

    /// Who has been started as a member.
    pub fn started(&self, member: usize, pid: u32) {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids.retain(|(other, _)| *other != member);
        pids.push((member, pid));
    }

    /// Makes all links so.
    pub fn set(&self, links: &Links) {
        self.links.send_replace(links.clone());
    }
}

async fn accept(
    listener: TcpListener,
    to: usize,
    target: SocketAddr,
    pids: Arc<Mutex<Vec<(usize, u32)>>>,
    links: watch::Receiver<Links>,
) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let pids = pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connections.spawn(serve(socket, to, target, pids, links.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(
    socket: TcpStream,
    to: usize,
    target: SocketAddr,
    pids: Vec<(usize, u32)>,
    mut links: watch::Receiver<Links>,
) {
    let (Ok(own), Ok(other)) = (socket.local_addr(), socket.peer_addr()) else { return };
    // The members' files are many: not on a thread that others wait for.
    let found = tokio::task::spawn_blocking(move || sources::owner(other, own, &pids)).await;
    // Whoever is no member has good links.
    let from = found.ok().flatten();
    if let Some(from) = from {
        // As long as nothing comes through, nobody is there.
        let open = |links: &Links| !links[from][to].cut && !links[to][from].cut;
        if links.wait_for(open).await.is_err() {
            return;
        }
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _either_is_fine = (socket.set_nodelay(true), server.set_nodelay(true));
    let (client_in, client_out) = socket.into_split();
    let (server_in, server_out) = server.into_split();
    let there = from.map(|from| (from, to));
    let back = from.map(|from| (to, from));
    tokio::select! {
        () = carry(client_in, server_out, there, links.clone()) => {}
        () = carry(server_in, client_out, back, links) => {}
    }
}

/// Carries bytes over one directed link, in order, each as late as the link makes it.
async fn carry(
    mut input: OwnedReadHalf,
    mut output: OwnedWriteHalf,
    link: Option<(usize, usize)>,
    mut links: watch::Receiver<Links>,
) {
    let mut underway: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut open = true;
    let mut buffer = vec![0; CHUNK];
    loop {
        let state = link.map(|(from, to)| links.borrow_and_update()[from][to]).unwrap_or_default();
        let due = underway.front().map(|(due, _)| *due).filter(|_| !state.cut);
        if !open && underway.is_empty() {
            return;
        }
        tokio::select! {
            read = input.read(&mut buffer), if open && underway.len() < UNDERWAY_MAX => match read {
                Ok(0) | Err(_) => open = false,
                Ok(size) => {
                    let mut due = Instant::now() + state.delay;
                    if rand::rng().random_range(0..100) < state.loss_percent {
                        due += RETRANSMIT;
                    }
                    let last = underway.back().map_or(due, |(last, _)| *last);
                    underway.push_back((due.max(last), buffer[..size].to_vec()));
                }
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some((_, bytes)) = underway.pop_front() else { continue };
                if output.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            changed = links.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
