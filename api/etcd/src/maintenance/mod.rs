//! Maintenance: status, alarms, hashes.

mod alarm;
mod defragment;
mod hash;
mod status;

pub(crate) use alarm::alarm;
pub(crate) use defragment::defragment;
pub(crate) use hash::{hash, hash_kv};
pub(crate) use status::status;
