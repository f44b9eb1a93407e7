//! A process that has started, and needs little of what that took.

use std::time::Duration;

use keelson_node_agent::sys::memory;

/// By then what runs once has run.
const AFTER: Duration = Duration::from_secs(2);

/// Gives the code back that only the start needed, after a while.
pub async fn release_code() {
    tokio::time::sleep(AFTER).await;
    if let Err(error) = tokio::task::spawn_blocking(memory::release_code).await {
        tracing::debug!(%error, "the start's code stays in memory");
    }
}
