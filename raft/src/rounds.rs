//! Rounds: one question serves all who wait for its answer when it is asked.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use crate::runtime::{JoinHandle, Runtime};

/// Those who wait to be taken up; more wait for room.
pub(crate) const QUEUE_WAITERS: usize = 16 * 1024;
/// Questions on their way at once.
const ROUNDS_IN_FLIGHT: usize = 2;

/// Told the answer of a round that began after it was queued.
pub(crate) type Waiter<T> = oneshot::Sender<T>;

/// Begins a round whenever somebody waits, until the queue is closed.
pub(crate) async fn serve<T, F>(mut queue: mpsc::Receiver<Waiter<T>>, round: impl Fn() -> F)
where
    T: Copy + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut rounds: FuturesUnordered<JoinHandle<()>> = FuturesUnordered::new();
    let mut waiters = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = rounds.next(), if !rounds.is_empty() => {}
            count = queue.recv_many(&mut waiters, QUEUE_WAITERS),
                if rounds.len() < ROUNDS_IN_FLIGHT =>
            {
                if count == 0 {
                    return;
                }
                let (round, waiters) = (round(), std::mem::take(&mut waiters));
                // A task of its own: who of several waiters on one channel is woken first is
                // random within a task, and a simulation must not depend on it.
                rounds.push(Runtime::spawn(async move {
                    let answer = round.await;
                    for waiter in waiters {
                        let _ = waiter.send(answer);
                    }
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn ten_thousand_wait_for_a_few_rounds() {
        let (sender, queue) = mpsc::channel(QUEUE_WAITERS);
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        tokio::spawn(serve(queue, move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move { number }
        }));
        let mut waiting = Vec::new();
        for _ in 0..10_000 {
            let (waiter, answer) = oneshot::channel();
            sender.try_send(waiter).unwrap();
            waiting.push(answer);
        }
        for answer in waiting {
            answer.await.unwrap();
        }
        assert_eq!(rounds.load(Ordering::SeqCst), 1);
    }
}
