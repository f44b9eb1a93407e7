//! Invariants: what must hold whatever happens, one a file. Each is told what happened and says
//! what is wrong with it.

mod elections;
mod leader_completeness;
mod leases;
mod linearizable;
mod locks;
mod log_matching;
mod machines;
mod revisions;
mod watches;

pub(crate) use elections::Elections;
pub(crate) use leader_completeness::must_hold;
pub(crate) use leases::Leases;
pub(crate) use linearizable::{Asked, Linearizable};
pub(crate) use locks::Locks;
pub(crate) use log_matching::LogMatching;
pub(crate) use machines::{Machines, State};
pub(crate) use revisions::Revisions;
pub(crate) use watches::{Told, Watches};

/// What is wrong.
pub(crate) type Verdict = Result<(), String>;
