//! Reads: the index that a linearizable read must wait for; one question serves all who wait.

use std::time::Duration;

use keelson_failpoint::planted::{self, Bug};
use openraft::Raft;
use tokio::sync::{mpsc, watch};

use crate::error::ReadError;
use crate::leadership::Leadership;
use crate::machine::Machine;
use crate::peers::Peers;
use crate::proofs::confirmed;
use crate::rounds::{Waiter, serve};
use crate::runtime::{Moment, Runtime};
use crate::types::Types;

/// Before a question is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Told when the state may be read.
pub(crate) type Reader = Waiter<Result<(), ReadError>>;

/// The readers' task.
pub(crate) struct ReadsTask {
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) applied: watch::Receiver<u64>,
    /// Readers are given up after this long.
    pub(crate) patience: Duration,
}

impl ReadsTask {
    /// Runs until the queue is closed.
    pub(crate) async fn run(self, queue: mpsc::Receiver<Reader>) {
        let patience = self.patience;
        serve(queue, || {
            let round = Round {
                raft: self.raft.clone(),
                peers: self.peers.clone(),
                leadership: self.leadership.clone(),
                applied: self.applied.clone(),
            };
            round.run(patience)
        })
        .await;
    }
}

struct Round {
    raft: Raft<Types, Machine>,
    peers: Peers,
    leadership: watch::Receiver<Leadership>,
    applied: watch::Receiver<u64>,
}

impl Round {
    async fn run(mut self, patience: Duration) -> Result<(), ReadError> {
        let begun = Moment::now();
        let index = loop {
            let leadership = *self.leadership.borrow_and_update();
            let asked = match leadership.leader {
                _ if leadership.is_own && planted::is(Bug::ServeReadsWhenDeposed) => {
                    Some(*self.applied.borrow())
                }
                _ if leadership.is_own => confirmed_index(&self.raft).await.ok(),
                Some(leader) if leader != self.peers.directory.own() => {
                    let reply = self.peers.read_index(leader).await;
                    reply.ok().filter(|reply| reply.leader).map(|reply| reply.index)
                }
                Some(_) | None => None,
            };
            if let Some(index) = asked {
                break index;
            }
            if begun.age() >= patience {
                return Err(ReadError::NoLeader);
            }
            // A change of leader is worth another question; so is some time.
            let pause = if leadership.leader.is_some() { RETRY_PAUSE } else { patience };
            let changed = Runtime::timeout(pause, self.leadership.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return Err(ReadError::Stopped);
            }
        };
        if *self.applied.borrow() >= index {
            return Ok(());
        }
        let caught_up = Runtime::timeout(patience, async {
            self.applied.wait_for(|applied| *applied >= index).await.map(|_| ())
        });
        match caught_up.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::Timeout),
        }
    }
}

/// As the leader: what is committed, confirmed by a quorum.
pub(crate) async fn confirmed_index(raft: &Raft<Types, Machine>) -> Result<u64, ReadError> {
    confirmed(raft).await.map(|(_, index)| index)
}
