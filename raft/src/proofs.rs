//! Proofs: whether this member leads is not known from its own memory; only most of the others
//! together can say. One question to them serves all who ask at the time.

use std::time::Duration;

use openraft::{Raft, ReadPolicy};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::ReadError;
use crate::machine::Machine;
use crate::rounds::{QUEUE_WAITERS, Waiter, serve};
use crate::runtime::Runtime;
use crate::types::{Types, outer_index};

/// The leader's term and what is committed, confirmed by a quorum after the call.
pub(crate) async fn confirmed(raft: &Raft<Types, Machine>) -> Result<(u64, u64), ReadError> {
    match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => {
            let id = linearizer.read_log_id();
            Ok((id.log_id().leader_id.term, outer_index(id.index())))
        }
        Err(_) => Err(ReadError::NoLeader),
    }
}

/// Where proofs are asked for; clones share the rounds.
#[derive(Clone)]
pub(crate) struct Proofs {
    queue: mpsc::Sender<Waiter<Option<u64>>>,
}

impl Proofs {
    /// Starts the task that asks; what is committed is applied within `limit`, or not proven.
    pub(crate) fn start(
        raft: Raft<Types, Machine>,
        applied: watch::Receiver<u64>,
        limit: Duration,
    ) -> Self {
        let (queue, waiters) = mpsc::channel(QUEUE_WAITERS);
        let round = move || prove(raft.clone(), applied.clone(), limit);
        drop(Runtime::spawn(serve(waiters, round)));
        Self { queue }
    }

    /// The term in which this member led at a moment since the call; the own state holds what was
    /// committed by then. `None`: it did not lead, or could not find out.
    pub(crate) async fn leads(&self) -> Option<u64> {
        let (waiter, answer) = oneshot::channel();
        self.queue.send(waiter).await.ok()?;
        answer.await.ok()?
    }
}

async fn prove(
    raft: Raft<Types, Machine>,
    mut applied: watch::Receiver<u64>,
    limit: Duration,
) -> Option<u64> {
    let (term, index) = confirmed(&raft).await.ok()?;
    let caught_up = async { applied.wait_for(|now| *now >= index).await.map(|_| ()) };
    matches!(Runtime::timeout(limit, caught_up).await, Ok(Ok(()))).then_some(term)
}
