//! Renewals: leases that wait to be renewed are asked for together. One call to the leader, and one
//! proof of it, serve all of them.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::LeaseError;
use crate::leadership::Leadership;
use crate::leases::{Leases, Question};
use crate::peers::Peers;
use crate::runtime::{JoinHandle, Moment, Runtime};

/// Renewals that wait to be taken up; more wait for room.
pub(crate) const QUEUE_RENEWALS: usize = 16 * 1024;
/// Leases of one call.
const LEASES_A_CALL: usize = 1024;
/// Calls on their way at once.
const CALLS_IN_FLIGHT: usize = 4;

/// A lease that waits to be renewed.
pub(crate) struct Waiting {
    id: i64,
    since: Moment,
    done: oneshot::Sender<Result<i64, LeaseError>>,
}

/// The way to the task; clones share it.
#[derive(Clone)]
pub(crate) struct Renewals(mpsc::Sender<Waiting>);

impl Renewals {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Waiting>) {
        let (queue, waiting) = mpsc::channel(QUEUE_RENEWALS);
        (Self(queue), waiting)
    }

    /// Renews a lease; its time to live in seconds.
    pub(crate) async fn renew(&self, id: i64) -> Result<i64, LeaseError> {
        let (done, renewed) = oneshot::channel();
        let waiting = Waiting { id, since: Moment::now(), done };
        self.0.send(waiting).await.map_err(|_| LeaseError::Stopped)?;
        renewed.await.unwrap_or(Err(LeaseError::Stopped))
    }
}

/// The task that asks.
pub(crate) struct RenewalsTask {
    pub(crate) leases: Leases,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// A lease is given up after this long.
    pub(crate) patience: Duration,
}

impl RenewalsTask {
    /// Runs until the queue is closed.
    pub(crate) async fn run(self, mut queue: mpsc::Receiver<Waiting>) {
        let mut calls: FuturesUnordered<JoinHandle<()>> = FuturesUnordered::new();
        let mut taken = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = calls.next(), if !calls.is_empty() => {}
                count = queue.recv_many(&mut taken, LEASES_A_CALL),
                    if calls.len() < CALLS_IN_FLIGHT =>
                {
                    if count == 0 {
                        return;
                    }
                    calls.push(Runtime::spawn(self.call(std::mem::take(&mut taken))));
                }
            }
        }
    }

    fn call(&self, mut waiting: Vec<Waiting>) -> impl Future<Output = ()> + Send + use<> {
        let (leases, peers) = (self.leases.clone(), self.peers.clone());
        let (leadership, patience) = (self.leadership.clone(), self.patience);
        async move {
            waiting.retain(|one| !one.done.is_closed());
            let Some(oldest) = waiting.first() else { return };
            let left = patience.saturating_sub(oldest.since.age());
            let ids = waiting.iter().map(|one| one.id).collect();
            let answers = leases.ask(Question::Renew, ids, leadership, &peers, left).await;
            for (one, answer) in waiting.into_iter().zip(answers) {
                let _ = one.done.send(answer);
            }
        }
    }
}
