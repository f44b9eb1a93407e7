//! Compactions: of what is some seconds old, and now and then of what watchers have just been told.

use std::time::Duration;

use keelson_check::{OpRequest, Response};
use keelson_client::Store as _;
use rand::Rng as _;

use super::{Client, PATIENCE};

/// Between two of one client.
const PAUSE_MS: std::ops::Range<u64> = 400..2500;
/// Revisions that are kept, mostly.
const KEPT: std::ops::Range<i64> = 300..2000;
/// One of so many keeps fewer.
const CLOSE: u32 = 12;
/// So few.
const KEPT_CLOSE: std::ops::Range<i64> = 0..100;

impl Client {
    /// One turn.
    pub(super) async fn compaction(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(PAUSE_MS))).await;
        let store = self.store();
        let newest = tokio::time::timeout(PATIENCE, store.revision()).await;
        let Ok(Ok(newest)) = newest else {
            self.at = (self.at + 1) % self.stores.len();
            return;
        };
        let kept = if self.random.random_ratio(1, CLOSE) { KEPT_CLOSE } else { KEPT };
        // At first there are not so many.
        let revision = newest - self.random.random_range(kept).min(newest / 2);
        if revision <= 1 {
            return;
        }
        let physical = self.random.random_ratio(1, 4);
        self.ask(OpRequest::Compact { revision }, async move {
            store.compact(revision, physical).await.map(|()| Response::default())
        })
        .await;
    }
}
