//! Threads for long work, which must not hold anybody up.

use std::io;
use std::sync::{OnceLock, mpsc};
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

/// By how much such a thread counts less than others: a tenth, where all have much to do.
const NICE: i32 = 10;
const NICE_MAX: i32 = 19;

/// A thread that gives way to all others.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        give_way();
        run();
    })
}

/// Lets the calling thread give way to all others, for as long as it lives.
pub fn give_way() {
    // On Linux, what a process without an id stands for is the calling thread.
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    let nice = (own + NICE).min(NICE_MAX);
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(%error, "a thread does not give way to others");
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// One thread that does long work, a piece at a time, for whoever waits for it. It begins with the
/// first piece, and ends when its last owner is gone.
#[derive(Debug, Default)]
pub struct Worker {
    /// Each caller has one piece here at most.
    jobs: OnceLock<mpsc::Sender<Job>>,
}

impl Worker {
    /// Does a piece of work; `None`: it cannot be done.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let jobs = self.jobs.get_or_init(|| {
            let (jobs, waiting) = mpsc::channel::<Job>();
            let run = move || waiting.into_iter().for_each(|job| job());
            if let Err(error) = spawn("bulk", run) {
                tracing::error!(%error, "no thread for long work");
            }
            jobs
        });
        let job = move || {
            let _nobody_waits = done.send(work());
        };
        jobs.send(Box::new(job)).ok()?;
        result.await.ok()
    }
}
