//! The workload: clients of every kind, each of which writes down what it asked and was told.

mod compactions;
mod keys;
mod leases;
mod locks;
mod watchers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keelson_check::{History, Operation};
use keelson_proto::etcdserverpb as pb;
use keelson_raft::runtime::Runtime;
use keelson_raft::{Node, ProposeError};
use keelson_storage::command::{ApplyError, Command, Op};
use parking_lot::Mutex;
use pb::request_op::Request;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cluster::Cluster;
use crate::executor::Group;
use crate::outcome::{Found, Outcome};

pub(crate) use watchers::WATCHERS;

/// The clients' own tasks.
pub(crate) const GROUP: Group = 2000;

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Puts, deletes, ranges and transactions.
    Keys,
    /// Leases.
    Leases,
    /// Locks and elections.
    Locks,
    /// Watchers.
    Watchers,
    /// Compactions.
    Compactions,
}

const PARTS: [(Part, &str, u64); 5] = [
    (Part::Keys, "keys", 4),
    (Part::Leases, "leases", 1),
    (Part::Locks, "locks", 3),
    (Part::Watchers, "watchers", WATCHERS),
    (Part::Compactions, "compactions", 1),
];

impl Part {
    /// All parts, by name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PARTS.iter().map(|(_, name, _)| *name)
    }

    /// The part of this name.
    pub fn from_name(wanted: &str) -> Option<Self> {
        PARTS.iter().find(|(_, name, _)| *name == wanted).map(|(part, ..)| *part)
    }
}

/// What all clients share; clones share it.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) cluster: Cluster,
    /// No more questions.
    pub(crate) over: Arc<AtomicBool>,
    /// Clients that have not ended.
    pub(crate) busy: Arc<AtomicU64>,
    pub(crate) asked: Arc<AtomicU64>,
    pub(crate) answered: Arc<AtomicU64>,
    /// Questions that may still be asked.
    pub(crate) most: u64,
    history: Arc<Mutex<(u64, History)>>,
}

impl Shared {
    pub(crate) fn new(cluster: Cluster, most: u64) -> Self {
        Self {
            cluster,
            over: Arc::default(),
            busy: Arc::default(),
            asked: Arc::default(),
            answered: Arc::default(),
            most,
            history: Arc::default(),
        }
    }

    /// What clients saw of single keys.
    pub(crate) fn history(&self) -> History {
        self.history.lock().1.clone()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.asked.load(Ordering::Relaxed) >= self.most
    }
}

/// Starts the clients of all parts but some.
pub(crate) fn start(shared: &Shared, seed: u64, without: &std::collections::BTreeSet<Part>) {
    let mut number = 0;
    for (part, _, count) in PARTS {
        for place in 0..count {
            number += 1;
            if without.contains(&part) {
                continue;
            }
            let random = StdRng::seed_from_u64(seed ^ (number << 40));
            let client = Client { number, place, random, home: None, shared: shared.clone() };
            let busy = shared.busy.clone();
            // Watchers have no end of their own.
            busy.fetch_add(u64::from(part != Part::Watchers), Ordering::Relaxed);
            shared.cluster.control.spawn(GROUP, async move {
                match part {
                    Part::Keys => keys::run(client).await,
                    Part::Leases => leases::run(client).await,
                    Part::Locks => locks::run(client).await,
                    Part::Watchers => watchers::run(client).await,
                    Part::Compactions => compactions::run(client).await,
                }
                busy.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

/// One client.
struct Client {
    number: u64,
    /// Among those of its kind.
    place: u64,
    random: StdRng,
    /// The member that it asks.
    home: Option<u64>,
    shared: Shared,
}

/// A client does not wait longer than this.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What became of a request.
enum Fate {
    Is(Outcome),
    /// Nothing happened.
    Refused,
    Unknown,
}

impl Client {
    /// Some time passes; `false`: the client has nothing more to ask.
    async fn pause(&mut self, most_millis: u64) -> bool {
        let micros = self.random.random_range(200..most_millis * 1000);
        Runtime::sleep(Duration::from_micros(micros)).await;
        !self.shared.is_over()
    }

    /// The member to ask: mostly the same.
    fn home(&mut self) -> u64 {
        let ids = self.shared.cluster.ids();
        let stays = self.home.filter(|home| ids.contains(home));
        if let Some(home) = stays
            && self.random.random_range(0..12) > 0
        {
            return home;
        }
        let home = ids[self.random.random_range(0..ids.len())];
        self.home = Some(home);
        home
    }

    /// Whom it asked is of no use.
    fn leave(&mut self) {
        self.home = None;
    }

    /// Asks a member something, for as long as a client waits.
    async fn call<T, F>(&mut self, work: impl FnOnce(Node) -> F + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let home = self.home();
        self.shared.asked.fetch_add(1, Ordering::Relaxed);
        let cluster = self.shared.cluster.clone();
        let asked = cluster.call(home, work);
        let answer = Runtime::timeout(PATIENCE, asked).await.ok().flatten();
        match &answer {
            Some(_) => {
                self.shared.answered.fetch_add(1, Ordering::Relaxed);
            }
            None => self.leave(),
        }
        answer
    }

    /// Has a command applied, and has its answer judged.
    async fn propose(&mut self, op: Op) -> Fate {
        let monitor = self.shared.cluster.monitor.clone();
        let asked = monitor.ask();
        let (story, number) = (self.shared.cluster.story.clone(), self.number);
        story.trace(|| format!("client {number} asks {}: {op:?}", asked.tag));
        let command = Command { op: Some(op), user: asked.tag.to_string(), ..Command::default() };
        let answer = self.call(|node| async move { node.propose(command).await }).await;
        let fate = match answer {
            Some(Ok(reply)) => Fate::Is(Outcome::of(&Ok(reply))),
            Some(Err(ProposeError::Apply(error))) => Fate::Is(Outcome::Refused(error)),
            // These promise that nothing happened.
            Some(Err(ProposeError::NoLeader | ProposeError::TooManyRequests)) => Fate::Refused,
            Some(Err(_)) | None => Fate::Unknown,
        };
        match &fate {
            Fate::Is(outcome) => {
                story.trace(|| format!("client {number} is told {}: {outcome:?}", asked.tag));
                monitor.answered(asked, outcome);
            }
            Fate::Refused => {
                story.trace(|| format!("client {number} is refused {}", asked.tag));
                monitor.refused(asked);
                self.leave();
            }
            Fate::Unknown => story.trace(|| format!("client {number} gives up {}", asked.tag)),
        }
        fate
    }

    /// Reads keys; at the revision, or the newest. The answer's revision, and what there is.
    async fn range(
        &mut self,
        key: Bytes,
        range_end: Bytes,
        revision: i64,
        serializable: bool,
    ) -> Option<(i64, Vec<Found>)> {
        let monitor = self.shared.cluster.monitor.clone();
        let asked = monitor.ask();
        let number = self.number;
        let request = pb::RangeRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            revision,
            ..Default::default()
        };
        let answer = self.call(move |node| async move {
            if !serializable && node.read_index().await.is_err() {
                return None;
            }
            node.view().range(&request).ok()
        });
        let Some(answer) = answer.await.flatten() else {
            self.leave();
            return None;
        };
        let at = answer.header.as_ref().map_or(0, |header| header.revision);
        let found: Vec<Found> = answer.kvs.iter().map(Found::from).collect();
        self.shared
            .cluster
            .story
            .trace(|| format!("client {number} reads {} of {key:?} at {at}: {found:?}", asked.tag));
        let newest = revision == 0;
        let read_at = if newest { at } else { revision };
        monitor.read(asked, (&key, &range_end), newest && !serializable, read_at, &found);
        Some((at, found))
    }

    /// Notes what happened to a single key, for the check that knows of no revisions.
    fn record(&self, operation: Operation) {
        self.shared.history.lock().1.operations.push(operation);
    }

    /// A clock that never stands still, so that any two events have an order.
    fn tick(&self) -> u64 {
        let mut history = self.shared.history.lock();
        history.0 += 1;
        history.0
    }
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>, lease: i64) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), lease, ..Default::default() }
}

fn request(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// Whether an error says that a lease is gone.
fn is_lease_gone(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(ApplyError::LeaseNotFound))
}
