//! Workers: take a key, reconcile it, and put it back as the outcome says.
//!
//! A panic ends that reconcile only; it is logged and retried like an error.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::queue::Queue;

/// What a reconcile that succeeded wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Wait,
    /// To run again after this long, or earlier if something changes.
    After(Duration),
}

/// Runs `workers` workers on `queue` until cancelled, and joins them.
pub async fn run_workers<K, E, F>(
    name: &'static str,
    queue: Arc<Queue<K>>,
    workers: usize,
    token: CancellationToken,
    reconcile: impl Fn(K) -> F + Clone + Send + Sync + 'static,
) where
    K: Ord + Clone + fmt::Display + Send + Sync + 'static,
    E: fmt::Display,
    F: Future<Output = Result<Next, E>> + Send,
{
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (queue, token, reconcile) = (queue.clone(), token.clone(), reconcile.clone());
        tasks.spawn(async move {
            while let Some(key) = token.run_until_cancelled(queue.get()).await {
                let work = AssertUnwindSafe(async { reconcile(key.clone()).await }).catch_unwind();
                match work.await {
                    Ok(Ok(next)) => {
                        queue.forget(&key);
                        if let Next::After(wait) = next {
                            queue.add_after(key.clone(), wait);
                        }
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(controller = name, %key, %error, "reconcile failed, retrying");
                        queue.add_failed(key.clone());
                    }
                    Err(panic) => {
                        let message = panic
                            .downcast_ref::<String>()
                            .map(String::as_str)
                            .or_else(|| panic.downcast_ref::<&str>().copied())
                            .unwrap_or("no message");
                        tracing::error!(controller = name, %key, message, "reconcile panicked, retrying");
                        queue.add_failed(key.clone());
                    }
                }
                queue.done(&key);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}
