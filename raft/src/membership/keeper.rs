//! MembershipKeeper: as leader, ends what others began: changes that were cut off in the middle,
//! votes for members that have caught up, graves of those that were removed.

use std::time::Duration;

use tokio::sync::watch;

use super::Reconfigurer;
use crate::leadership::Leadership;
use crate::runtime::Runtime;
use crate::types::StoredMembership;

/// How often a member that does not vote yet is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// The keeper's task.
pub(crate) struct MembershipKeeper {
    pub(crate) reconfigurer: Reconfigurer,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) membership: watch::Receiver<StoredMembership>,
}

impl MembershipKeeper {
    /// Runs until consensus stops.
    pub(crate) async fn run(mut self) {
        let mut looks = true;
        loop {
            let leads = self.leadership.borrow_and_update().is_own;
            let settled = self.reconfigurer.is_settled(&self.membership.borrow_and_update());
            if leads && (looks || !settled) {
                // What cannot be done now is tried again.
                looks = self.reconfigurer.tend().await.unwrap_or(true);
            }
            let again = leads && (looks || !settled);
            tokio::select! {
                biased;
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    looks = true;
                }
                changed = self.membership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    looks = true;
                }
                () = Runtime::sleep(INTERVAL), if again => {}
            }
        }
    }
}
