//! Seeker: a member that hears of no leader asks the others, who tell it if it has been removed.
//!
//! One that votes asks for votes anyway; one that does not would wait for ever.

use std::time::Duration;

use tokio::sync::watch;

use crate::leadership::Leadership;
use crate::peers::Peers;
use crate::runtime::Runtime;
use crate::types::StoredMembership;

/// The seeker's task.
pub(crate) struct Seeker {
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) membership: watch::Receiver<StoredMembership>,
    /// How long it does without a leader.
    pub(crate) patience: Duration,
}

impl Seeker {
    /// Runs until consensus stops.
    pub(crate) async fn run(mut self) {
        loop {
            if self.leadership.wait_for(|now| now.leader.is_none()).await.is_err() {
                return;
            }
            let found = self.leadership.wait_for(|now| now.leader.is_some());
            let found = Runtime::timeout(self.patience, async { found.await.map(|_| ()) });
            match found.await {
                Ok(Ok(())) => continue,
                Ok(Err(_)) => return,
                Err(_) => self.ask().await,
            }
        }
    }

    async fn ask(&self) {
        let own = self.peers.directory.own();
        let others: Vec<u64> = {
            let membership = self.membership.borrow();
            membership.nodes().map(|(id, _)| *id).filter(|id| *id != own).collect()
        };
        for other in others {
            let asked = Runtime::timeout(self.patience, self.peers.read_index(other));
            // Only the greeting counts.
            let _ = asked.await;
        }
    }
}
