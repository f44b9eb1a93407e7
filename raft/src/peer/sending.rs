//! Sending: how many snapshots are on their way to others. Until they have what comes after, the
//! log is not released: whoever gets its entries away faster than a snapshot arrives would send one
//! after the other, for ever.

use std::time::Duration;

use tokio::sync::watch;

use crate::runtime::Runtime;

/// After a snapshot has arrived, its follower asks for the entries after it within this.
const GRACE: Duration = Duration::from_secs(5);
/// Whoever takes longer than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// Snapshots on their way; clones share the count.
#[derive(Clone)]
pub(crate) struct Sending(watch::Sender<usize>);

/// One that is on its way, until it is dropped.
pub(super) struct OnItsWay(watch::Sender<usize>);

impl Sending {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn begin(&self) -> OnItsWay {
        self.0.send_modify(|count| *count += 1);
        OnItsWay(self.0.clone())
    }

    /// Waits until there is none, within reason.
    pub(crate) async fn idle(&self) {
        let mut count = self.0.subscribe();
        let none = Runtime::timeout(PATIENCE, async {
            let _ = count.wait_for(|count| *count == 0).await;
        });
        if none.await.is_err() {
            tracing::warn!("a snapshot is being sent for too long: the log is released");
        }
    }
}

impl OnItsWay {
    /// It has arrived.
    pub(super) fn arrived(self) {
        drop(Runtime::spawn(async move {
            Runtime::sleep(GRACE).await;
            drop(self);
        }));
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
