//! The Node: what the machine is, its registration, its status and its lease.

mod conditions;
mod heartbeat;
mod lease;
mod machine;
mod status;

pub(crate) use heartbeat::{register, run};
pub(crate) use lease::run as run_lease;
pub(crate) use machine::Machine;
