//! The runtime that consensus runs on: tokio, or the simulator's when a thread has entered one.

mod ambient;
mod executor;
mod moment;
mod task;

pub use ambient::Runtime;
pub use executor::{Entered, Executor, Job, enter, simulated_now};
pub use moment::Moment;
pub use task::{JoinHandle, TaskLost, TimedOut, Timeout};

pub(crate) use executor::current;
