//! Slow-start batches: many like calls, in groups of 1, 2, 4, ..., so that a call that cannot
//! succeed (quota, admission) is made once and not a thousand times.

use futures::future::join_all;

/// What became of a slow-started batch.
#[derive(Debug)]
pub struct BatchOutcome<T, E> {
    /// The answers of the calls that succeeded.
    pub done: Vec<T>,
    /// The first failure; no group was started after it.
    pub failed: Option<E>,
    /// Calls that were never made.
    pub skipped: usize,
}

/// Calls `call(0..count)` in groups that double while all of a group succeed.
pub async fn slow_start<T, E, F>(count: usize, call: impl Fn(usize) -> F) -> BatchOutcome<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut outcome = BatchOutcome { done: Vec::with_capacity(count), failed: None, skipped: 0 };
    let (mut next, mut size) = (0, 1);
    while next < count && outcome.failed.is_none() {
        let group = size.min(count - next);
        for result in join_all((next..next + group).map(&call)).await {
            match result {
                Ok(value) => outcome.done.push(value),
                Err(error) => outcome.failed = outcome.failed.take().or(Some(error)),
            }
        }
        next += group;
        size *= 2;
    }
    outcome.skipped = count - next;
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::slow_start;

    #[tokio::test]
    async fn a_failing_call_is_not_repeated_for_the_whole_batch() {
        let calls = AtomicUsize::new(0);
        let outcome = slow_start(100, |index| {
            calls.fetch_add(1, Ordering::Relaxed);
            async move { if index < 3 { Ok(index) } else { Err("quota") } }
        })
        .await;
        assert_eq!(calls.load(Ordering::Relaxed), 7); // 1 + 2 + 4
        assert_eq!(
            (outcome.done, outcome.failed, outcome.skipped),
            (vec![0, 1, 2], Some("quota"), 93)
        );
    }
}
