//! Executor: what a simulator provides in the place of threads and real time.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// A task, or a wait.
pub type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A single-threaded executor with time of its own.
pub trait Executor {
    /// Runs a task, some time later on this thread.
    fn spawn(&self, task: Job);
    /// The time since the executor began.
    fn now(&self) -> Duration;
    /// Ends when the executor's time has come to `deadline`.
    fn sleep_until(&self, deadline: Duration) -> Job;
    /// A random number.
    fn random(&self) -> u64;
    /// How long the disk takes for the next sync of the task that runs.
    fn sync_time(&self) -> Duration;
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<dyn Executor>>> = const { RefCell::new(None) };
}

/// While it lives, this thread's tasks and timers belong to the executor.
#[must_use = "the executor is left when this is dropped"]
pub struct Entered {
    before: Option<Rc<dyn Executor>>,
}

/// Makes an executor this thread's runtime, in the place of tokio.
pub fn enter(executor: Rc<dyn Executor>) -> Entered {
    Entered { before: CURRENT.replace(Some(executor)) }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.replace(self.before.take());
    }
}

pub(crate) fn current() -> Option<Rc<dyn Executor>> {
    CURRENT.with_borrow(Clone::clone)
}

/// The time of the executor that this thread has entered.
pub fn simulated_now() -> Option<Duration> {
    current().map(|executor| executor.now())
}
