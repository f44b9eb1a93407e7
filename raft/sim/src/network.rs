//! The network: ordered streams of bytes between members, that arrive late, stall, or break.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use keelson_raft::Member;
use keelson_raft::peer::{Connection, Transport};
use keelson_raft::runtime::Runtime;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::executor::{Control, Group};

/// The network's own tasks.
pub(crate) const GROUP: Group = 1000;
const PIPE_BYTES: usize = 256 * 1024;
const CONNECTIONS_WAITING: usize = 64;
/// A stalled stream looks again after this long.
const STALL: Duration = Duration::from_millis(10);

/// All links; clones share them.
#[derive(Clone)]
pub(crate) struct Network {
    state: Arc<Mutex<State>>,
    control: Control,
}

#[derive(Default)]
struct State {
    doors: BTreeMap<u64, mpsc::Sender<Connection>>,
    /// Pairs that cannot hear each other.
    cut: BTreeSet<(u64, u64)>,
}

impl Network {
    pub(crate) fn new(control: Control) -> Self {
        Self { state: Arc::default(), control }
    }

    /// A member's way to the others, from its start to its end.
    pub(crate) fn transport(&self, own: u64) -> Arc<dyn Transport> {
        let (door, visitors) = mpsc::channel(CONNECTIONS_WAITING);
        self.state.lock().doors.insert(own, door);
        let visitors = tokio::sync::Mutex::new(visitors);
        Arc::new(SimulatedTransport { own, network: self.clone(), visitors })
    }

    /// From now on these two cannot hear each other.
    pub(crate) fn cut(&self, one: u64, other: u64) {
        self.state.lock().cut.insert((one.min(other), one.max(other)));
    }

    /// All links work again.
    pub(crate) fn heal(&self) {
        self.state.lock().cut.clear();
    }

    fn is_cut(&self, one: u64, other: u64) -> bool {
        self.state.lock().cut.contains(&(one.min(other), one.max(other)))
    }

    fn connect(&self, own: u64, target: u64) -> io::Result<Connection> {
        if self.is_cut(own, target) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let door = self.state.lock().doors.get(&target).cloned();
        let door = door.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = (self.pipe(own, target), self.pipe(target, own));
        let here = Connection { reader: Box::new(far.1), writer: Box::new(near.0) };
        let there = Connection { reader: Box::new(near.1), writer: Box::new(far.0) };
        door.try_send(there).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(here)
    }

    /// A stream of bytes in one direction: where it is written, and where it is read.
    fn pipe(&self, from: u64, to: u64) -> (DuplexStream, DuplexStream) {
        let (write_end, mut sent) = duplex(PIPE_BYTES);
        let (mut arriving, read_end) = duplex(PIPE_BYTES);
        let network = self.clone();
        self.control.spawn(GROUP, async move {
            let mut bytes = vec![0; PIPE_BYTES];
            loop {
                let Ok(count @ 1..) = sent.read(&mut bytes).await else { return };
                Runtime::sleep(delay()).await;
                // A cut link breaks the connection, or holds it until the link works again.
                let breaks = Runtime::random().is_multiple_of(2);
                while network.is_cut(from, to) {
                    if breaks {
                        return;
                    }
                    Runtime::sleep(STALL).await;
                }
                if arriving.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        });
        (write_end, read_end)
    }
}

/// Mostly quick, now and then slow.
fn delay() -> Duration {
    let random = Runtime::random();
    let limit = if random.is_multiple_of(64) { 40_000 } else { 1_500 };
    Duration::from_micros(50 + (random >> 8) % limit)
}

struct SimulatedTransport {
    own: u64,
    network: Network,
    visitors: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
}

impl Transport for SimulatedTransport {
    fn connect<'a>(
        &'a self,
        id: u64,
        _member: &'a Member,
    ) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            Runtime::sleep(delay()).await;
            self.network.connect(self.own, id)
        })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            match self.visitors.lock().await.recv().await {
                Some(connection) => Ok(connection),
                None => std::future::pending().await,
            }
        })
    }
}
