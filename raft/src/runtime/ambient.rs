//! Runtime: the library's runtime trait over whatever this thread runs on.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use futures::TryFutureExt;
use futures::future::Either;
use openraft::{AsyncRuntime, OptionalSend};
use rand::RngCore;
use tokio::sync::oneshot;

use super::executor::{Job, current};
use super::moment::Moment;
use super::task::{JoinHandle, SimulatedTimeout, TaskLost, TimedOut, Timeout};

#[allow(deprecated, reason = "the name that does not need another crate")]
type Tokio = openraft::impls::TokioRuntime;

/// Tokio, or the simulator that this thread has entered. Channels are tokio's in both cases: they
/// need no runtime.
#[derive(Debug)]
pub struct Runtime {
    tokio: Option<tokio::runtime::Runtime>,
}

/// The runtime's random numbers.
#[derive(Debug)]
pub struct RuntimeRandom(());

impl rand_core::TryRng for RuntimeRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        #[allow(clippy::cast_possible_truncation, reason = "the low half is as random")]
        Ok(Runtime::random() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(Runtime::random())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&Runtime::random().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl Runtime {
    /// A random number from the runtime.
    pub fn random() -> u64 {
        match current() {
            Some(executor) => executor.random(),
            None => rand::rng().next_u64(),
        }
    }

    /// Runs a task; on tokio it must be called within the runtime.
    pub fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        match current() {
            Some(executor) => {
                let (sender, receiver) = oneshot::channel();
                executor.spawn(Box::pin(async move {
                    let _ = sender.send(future.await);
                }));
                JoinHandle::Simulated(receiver)
            }
            None => JoinHandle::Real(tokio::spawn(future)),
        }
    }

    /// Ends after `duration`.
    pub fn sleep(duration: Duration) -> Either<tokio::time::Sleep, Job> {
        match current() {
            Some(executor) => Either::Right(executor.sleep_until(executor.now() + duration)),
            None => Either::Left(tokio::time::sleep(duration)),
        }
    }

    /// Ends at `deadline`.
    pub fn sleep_until(deadline: Moment) -> Either<tokio::time::Sleep, Job> {
        match current() {
            Some(executor) => Either::Right(executor.sleep_until(deadline.simulated())),
            None => Either::Left(tokio::time::sleep_until(deadline.real())),
        }
    }

    /// Ends with the future, or with an error after `duration`.
    pub fn timeout<F: Future + Send>(duration: Duration, future: F) -> Timeout<F> {
        match current() {
            Some(executor) => Either::Right(SimulatedTimeout {
                future: Box::pin(future),
                deadline: executor.sleep_until(executor.now() + duration),
            }),
            None => Either::Left(
                tokio::time::timeout(duration, future)
                    .map_err((|_| TimedOut) as fn(tokio::time::error::Elapsed) -> TimedOut),
            ),
        }
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = TaskLost;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Either<tokio::time::Sleep, Job>;
    type Instant = Moment;
    type TimeoutError = TimedOut;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = RuntimeRandom;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Self::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Self::sleep(duration)
    }

    fn sleep_until(deadline: Moment) -> Self::Sleep {
        Self::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Self::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Moment,
        future: F,
    ) -> Self::Timeout<R, F> {
        Self::timeout(deadline - Moment::now(), future)
    }

    fn is_panic(error: &TaskLost) -> bool {
        *error == TaskLost::Panicked
    }

    fn thread_rng() -> RuntimeRandom {
        RuntimeRandom(())
    }

    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn new(threads: usize) -> Self {
        let built = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build();
        Self { tokio: built.ok() }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        match &self.tokio {
            Some(tokio) => tokio.block_on(future),
            None => futures::executor::block_on(future),
        }
    }
}
