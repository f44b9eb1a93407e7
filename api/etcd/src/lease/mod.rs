//! Lease: time to live for keys.

mod attached;
mod grant;
mod keep_alive;
mod leases;
mod revoke;
mod time_to_live;

use attached::attached;
pub(crate) use grant::grant;
pub(crate) use keep_alive::{keep_alive, renew};
pub(crate) use leases::leases;
pub(crate) use revoke::revoke;
pub(crate) use time_to_live::time_to_live;
