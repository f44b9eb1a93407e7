//! Maintenance: status, alarms, hashes, snapshots, leadership.

mod alarm;
mod defragment;
mod downgrade;
mod hash;
mod move_leader;
mod snapshot;
mod status;

pub(crate) use alarm::alarm;
pub(crate) use defragment::defragment;
pub(crate) use downgrade::{downgrade, minor};
pub(crate) use hash::{hash, hash_kv};
pub(crate) use move_leader::move_leader;
pub(crate) use snapshot::snapshot;
pub(crate) use status::status;
