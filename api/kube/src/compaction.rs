//! Compaction: the store forgets what is older than some minutes, so that history stays bounded.

use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;

/// At least this much history is kept; at most twice as much.
const EVERY: Duration = Duration::from_secs(300);

/// Compacts until the server stops.
pub(crate) async fn run(cx: Arc<Context>) {
    let mut before = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = cx.stop.cancelled() => return,
        }
        let now = cx.caches.revision();
        if before > 0
            && before < now
            && let Err(error) = cx.storage.compact(before).await
        {
            tracing::warn!(%error, revision = before, "cannot compact the store");
        }
        before = now;
    }
}
