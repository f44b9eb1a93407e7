//! The network: ordered streams of bytes between members, that arrive late, stall, or break.
//!
//! Members speak over TCP, so a lost packet is a retransmission: all behind it waits. Calls that
//! consensus allows to come twice or in another order, and replies, do so where a link is in
//! disorder; so do calls on different connections everywhere.

use std::collections::BTreeMap;
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
use crate::frames::Frames;

/// The network's own tasks.
pub(crate) const GROUP: Group = 1000;
const PIPE_BYTES: usize = 32 * 1024;
const CONNECTIONS_WAITING: usize = 64;
/// A stalled stream looks again after this long.
const STALL: Duration = Duration::from_millis(10);
/// A lost packet is sent again after this long, then after twice that, and so on.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// All links; clones share them.
#[derive(Clone)]
pub(crate) struct Network {
    state: Arc<Mutex<State>>,
    control: Control,
}

/// What is wrong with a link, in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Nothing arrives.
    pub(crate) cut: bool,
    /// Everything takes up to so much longer.
    pub(crate) delay: Duration,
    /// Of a hundred packets, so many are lost.
    pub(crate) loss: u64,
    /// Of a hundred calls, so many come twice, and so many after the next.
    pub(crate) disorder: u64,
}

/// From one member to another.
type Way = (u64, u64);

#[derive(Default)]
struct State {
    doors: BTreeMap<u64, mpsc::Sender<Connection>>,
    /// Troubles by the fault that made them.
    troubles: BTreeMap<u64, Vec<(Way, Trouble)>>,
    next: u64,
}

/// A trouble that was made; [`Network::mend`] ends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made(u64);

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

    /// From now on these links, each from one member to another, are in trouble.
    pub(crate) fn trouble(&self, links: &[(u64, u64)], trouble: Trouble) -> Made {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state.troubles.insert(number, links.iter().map(|link| (*link, trouble)).collect());
        Made(number)
    }

    /// A trouble ends.
    pub(crate) fn mend(&self, made: Made) {
        self.state.lock().troubles.remove(&made.0);
    }

    /// All links work again.
    pub(crate) fn heal(&self) {
        self.state.lock().troubles.clear();
    }

    fn of(&self, from: u64, to: u64) -> Trouble {
        let state = self.state.lock();
        let mut sum = Trouble::default();
        for (link, trouble) in state.troubles.values().flatten() {
            if *link == (from, to) {
                sum.cut |= trouble.cut;
                sum.delay = sum.delay.max(trouble.delay);
                sum.loss = sum.loss.max(trouble.loss);
                sum.disorder = sum.disorder.max(trouble.disorder);
            }
        }
        sum
    }

    fn connect(&self, own: u64, target: u64) -> io::Result<Connection> {
        if self.of(own, target).cut || self.of(target, own).cut {
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
            let mut frames = Frames::default();
            loop {
                let holds = frames.holds();
                let read = sent.read_buf(frames.space());
                let read = match holds {
                    true => Runtime::timeout(STALL * 5, read).await,
                    false => Ok(read.await),
                };
                match read {
                    Ok(Ok(1..)) => {}
                    Ok(_) => return,
                    Err(_) => {
                        if arriving.write_all(&frames.release()).await.is_err() {
                            return;
                        }
                        continue;
                    }
                }
                let trouble = network.of(from, to);
                Runtime::sleep(delay(trouble)).await;
                // A cut link breaks the connection, or holds it until the link works again.
                let breaks = Runtime::random().is_multiple_of(2);
                while network.of(from, to).cut {
                    if breaks {
                        return;
                    }
                    Runtime::sleep(STALL).await;
                }
                let bytes = frames.take(trouble.disorder);
                if arriving.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        (write_end, read_end)
    }
}

/// Mostly quick, now and then slow.
fn delay(trouble: Trouble) -> Duration {
    let random = Runtime::random();
    let limit = if random.is_multiple_of(64) { 40_000 } else { 1_500 };
    let mut delay = Duration::from_micros(50 + (random >> 8) % limit);
    if !trouble.delay.is_zero() {
        delay += trouble.delay.mul_f64((random >> 40) as f64 / (1 << 24) as f64);
    }
    let mut again = RETRANSMISSION;
    while trouble.loss > 0 && Runtime::random() % 100 < trouble.loss {
        delay += again;
        again *= 2;
    }
    delay
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
            Runtime::sleep(delay(self.network.of(self.own, id))).await;
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
