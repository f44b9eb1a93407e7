//! Handles of tasks and timeouts, on tokio or on a simulator.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{Either, MapErr};
use tokio::sync::oneshot;
use tokio::time::error::Elapsed;

use super::executor::Job;

/// Why a task gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TaskLost {
    /// It panicked.
    #[error("the task panicked")]
    Panicked,
    /// Its runtime ended.
    #[error("the task's runtime ended")]
    Gone,
}

/// Waits for a task's result; dropping it leaves the task running.
pub enum JoinHandle<T> {
    #[doc(hidden)]
    Real(tokio::task::JoinHandle<T>),
    #[doc(hidden)]
    Simulated(oneshot::Receiver<T>),
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, TaskLost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Real(handle) => Pin::new(handle).poll(cx).map_err(|error| {
                if error.is_panic() { TaskLost::Panicked } else { TaskLost::Gone }
            }),
            Self::Simulated(receiver) => Pin::new(receiver).poll(cx).map_err(|_| TaskLost::Gone),
        }
    }
}

/// A deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct TimedOut;

/// A future with a deadline.
pub type Timeout<F> =
    Either<MapErr<tokio::time::Timeout<F>, fn(Elapsed) -> TimedOut>, SimulatedTimeout<F>>;

#[doc(hidden)]
pub struct SimulatedTimeout<F> {
    pub(crate) future: Pin<Box<F>>,
    pub(crate) deadline: Job,
}

impl<F: Future> Future for SimulatedTimeout<F> {
    type Output = Result<F::Output, TimedOut>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        self.deadline.as_mut().poll(cx).map(|()| Err(TimedOut))
    }
}
