//! Proposer: takes what waits, hands it to consensus in batches, or to the leader elsewhere.
//!
//! No timer: a batch is whatever has come while others were on their way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use keelson_failpoint::planted::{self, Bug};
use keelson_proto::raft as pb;
use keelson_proto::raft::proposals_reply::Fate;
use keelson_storage::command::Command;
use openraft::Raft;
use openraft::errors::ClientWriteError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::ProposeError;
use crate::leadership::Leadership;
use crate::machine::Machine;
use crate::peers::Peers;
use crate::pressure::Pressure;
use crate::proposals::Proposals;
use crate::runtime::{Moment, Runtime};
use crate::types::{Payload, Types};

/// Work that waits to be taken up; callers beyond that wait for room.
const QUEUE_ITEMS: usize = 16 * 1024;
/// Proposals of one batch.
const BATCH_PROPOSALS: usize = 2048;
/// Payload bytes of one batch, but for its last item.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Batches on their way at once.
const BATCHES_IN_FLIGHT: usize = 4;
/// Before a refused proposal is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Proposes a command of this process, and waits; whether it was applied.
pub(crate) type Propose = Arc<dyn Fn(Command) -> BoxFuture<'static, bool> + Send + Sync>;

/// Something to be proposed.
pub(crate) enum Work {
    /// By a caller of this process, who waits in [`Proposals`].
    Local {
        /// The caller.
        sequence: u64,
        /// What is proposed.
        payload: Payload,
    },
    /// By another member.
    Foreign {
        /// What is proposed.
        payloads: Vec<Payload>,
        /// Told how each of them ended.
        done: oneshot::Sender<Vec<Fate>>,
    },
}

/// The way to the proposer's task.
#[derive(Debug, Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Work>,
}

impl Proposer {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Work>) {
        let (queue, work) = mpsc::channel(QUEUE_ITEMS);
        (Self { queue }, work)
    }

    /// Hands work over; waits for room.
    pub(crate) async fn submit(&self, work: Work) {
        let _ = self.queue.send(work).await;
    }

    /// Hands work over if there is room.
    pub(crate) fn try_submit(&self, work: Work) -> Result<(), ProposeError> {
        self.queue.try_send(work).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::TooManyRequests,
            mpsc::error::TrySendError::Closed(_) => ProposeError::Stopped,
        })
    }
}

/// The proposer's task.
pub(crate) struct ProposerTask {
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) proposals: Proposals,
    pub(crate) peers: Peers,
    pub(crate) pressure: Pressure,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// Without a leader, proposals are given up after this long.
    pub(crate) patience: Duration,
}

/// Proposals that go together.
#[derive(Default)]
struct Batch {
    payloads: Vec<Payload>,
    /// Callers here: place in the batch, number.
    local: Vec<(usize, u64)>,
    /// Members elsewhere: first place, count, whom to tell.
    foreign: Vec<(usize, usize, oneshot::Sender<Vec<Fate>>)>,
}

/// A batch that came back.
struct Returned {
    batch: Batch,
    fates: Vec<Fate>,
}

impl Batch {
    fn add(&mut self, work: Work) {
        let place = self.payloads.len();
        match work {
            Work::Local { sequence, payload } => {
                self.local.push((place, sequence));
                self.payloads.push(payload);
            }
            Work::Foreign { payloads, done } => {
                self.foreign.push((place, payloads.len(), done));
                self.payloads.extend(payloads);
            }
        }
    }
}

impl ProposerTask {
    /// Runs until the queue is closed.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let mut in_flight: FuturesUnordered<BoxFuture<'static, Returned>> = FuturesUnordered::new();
        let mut taken = Vec::new();
        let mut waiting: std::collections::VecDeque<Work> = Default::default();
        let mut leaderless_since: Option<Moment> = None;
        loop {
            tokio::select! {
                biased;
                Some(returned) = in_flight.next(), if !in_flight.is_empty() => {
                    let refused = self.settle(returned);
                    if !refused.is_empty() {
                        Runtime::sleep(RETRY_PAUSE).await;
                        refused.into_iter().rev().for_each(|work| waiting.push_front(work));
                    }
                }
                count = queue.recv_many(&mut taken, BATCH_PROPOSALS),
                    if waiting.is_empty() && in_flight.len() < BATCHES_IN_FLIGHT =>
                {
                    if count == 0 {
                        return;
                    }
                    waiting.extend(taken.drain(..));
                }
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        // Consensus has stopped: nobody will lead again.
                        self.give_up(waiting.drain(..));
                        return;
                    }
                }
                () = Runtime::sleep(self.patience), if leaderless_since.is_some() => {}
            }
            let leader = self.leadership.borrow_and_update().leader;
            if leader.is_none() && !waiting.is_empty() {
                let since = *leaderless_since.get_or_insert_with(Moment::now);
                if since.age() >= self.patience {
                    self.give_up(waiting.drain(..));
                    leaderless_since = None;
                }
                continue;
            }
            leaderless_since = None;
            while !waiting.is_empty() && in_flight.len() < BATCHES_IN_FLIGHT {
                let batch = fill(&mut waiting);
                in_flight.push(self.send(batch));
            }
        }
    }

    fn send(&self, batch: Batch) -> BoxFuture<'static, Returned> {
        let leadership = *self.leadership.borrow();
        let raft = self.raft.clone();
        let peers = self.peers.clone();
        async move {
            let fates = match leadership.leader {
                _ if leadership.is_own => write(&raft, &batch.payloads).await,
                Some(leader) if batch.foreign.is_empty() && leader != peers.directory.own() => {
                    forward(&peers, leader, &batch.payloads).await
                }
                // What another member sent here is not sent on: it knows better by now.
                _ => vec![Fate::Refused; batch.payloads.len()],
            };
            Returned { batch, fates }
        }
        .boxed()
    }

    /// Tells everybody what became of a batch; returns what may be tried again.
    fn settle(&self, returned: Returned) -> Vec<Work> {
        let Returned { batch, fates } = returned;
        let fate = |place: usize| fates.get(place).copied().unwrap_or(Fate::Unknown);
        for (first, count, done) in batch.foreign {
            let _ = done.send((first..first + count).map(fate).collect());
        }
        let mut refused = Vec::new();
        let mut lost = Vec::new();
        let (mut done, mut bytes) = (0, 0);
        for (place, sequence) in batch.local {
            let payload = &batch.payloads[place];
            match fate(place) {
                Fate::Applied => {}
                Fate::Unknown => lost.push((sequence, Err(ProposeError::LeaderChanged))),
                Fate::Refused => {
                    refused.push(Work::Local { sequence, payload: payload.clone() });
                    continue;
                }
            }
            done += 1;
            bytes += payload.0.len();
        }
        self.pressure.leave(done, bytes);
        if !lost.is_empty() {
            self.proposals.complete(lost.into_iter());
        }
        refused
    }

    fn give_up(&self, works: impl Iterator<Item = Work>) {
        for work in works {
            match work {
                Work::Local { sequence, payload } => {
                    self.pressure.leave(1, payload.0.len());
                    let outcome = (sequence, Err(ProposeError::NoLeader));
                    self.proposals.complete(std::iter::once(outcome));
                }
                Work::Foreign { payloads, done } => {
                    let _ = done.send(vec![Fate::Refused; payloads.len()]);
                }
            }
        }
    }
}

/// The next batch: never empty when something waits.
fn fill(waiting: &mut std::collections::VecDeque<Work>) -> Batch {
    let mut batch = Batch::default();
    let mut bytes = 0;
    while batch.payloads.len() < BATCH_PROPOSALS && bytes < BATCH_BYTES {
        let Some(work) = waiting.pop_front() else { break };
        bytes += match &work {
            Work::Local { payload, .. } => payload.0.len(),
            Work::Foreign { payloads, .. } => payloads.iter().map(|payload| payload.0.len()).sum(),
        };
        batch.add(work);
    }
    batch
}

/// Proposes here; callers here have their replies before this ends.
async fn write(raft: &Raft<Types, Machine>, payloads: &[Payload]) -> Vec<Fate> {
    let mut fates = Vec::with_capacity(payloads.len());
    let Ok(mut results) = raft.client_write_many(payloads.iter().cloned()).await else {
        return fates;
    };
    while let Some(result) = results.next().await {
        fates.push(match result {
            Ok(Ok(_)) => Fate::Applied,
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => Fate::Refused,
            Ok(Err(_)) | Err(_) => Fate::Unknown,
        });
    }
    fates
}

async fn forward(peers: &Peers, leader: u64, payloads: &[Payload]) -> Vec<Fate> {
    let message = pb::Proposals { payloads: payloads.iter().map(|one| one.0.clone()).collect() };
    let sent = peers.propose(leader, &message).await;
    match sent {
        Ok(reply) => {
            let fates = reply.fates.into_iter();
            fates.map(|fate| Fate::try_from(fate).unwrap_or(Fate::Unknown)).collect()
        }
        // Nothing left this member.
        Err(error) if not_sent(&error) || planted::is(Bug::ForwardTwice) => {
            vec![Fate::Refused; payloads.len()]
        }
        Err(_) => vec![Fate::Unknown; payloads.len()],
    }
}

fn not_sent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotConnected | io::ErrorKind::WouldBlock)
}
