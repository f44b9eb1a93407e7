//! What controllers and scheduler share: reflectors, informers, work queues, event recording.
//!
//! Everything here speaks to the API through `kube::Client` and knows no controller by name.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backoff;
mod batch;
mod informer;
mod object;
mod queue;
mod recorder;
mod reflector;
mod worker;

pub use backoff::Backoff;
pub use batch::{BatchOutcome, slow_start};
pub use informer::{Change, Informer};
pub use object::{MetaObject, ObjectKey, Watched, controller_of, resource_version};
pub use queue::Queue;
pub use recorder::{EventType, Recorder, Subject};
pub use reflector::{Delta, Reflector, Source};
pub use worker::{Next, run_workers};

/// The present moment as the API writes it.
pub fn now() -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    jiff::Timestamp::now().into()
}
