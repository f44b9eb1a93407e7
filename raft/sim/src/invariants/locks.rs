//! Locks and elections are exclusive: nobody is told to hold one while another's lease on it lasts,
//! and each holder's fencing token is greater than those before.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Leases, Verdict};

struct Holder {
    client: u64,
    lease: i64,
    /// Whether it still means to hold it.
    holds: bool,
    token: i64,
}

/// Who holds what, by name.
#[derive(Default)]
pub(crate) struct Locks {
    holders: BTreeMap<String, Holder>,
}

impl Locks {
    /// A client was told that it holds a lock, for as long as its lease lasts.
    pub(crate) fn acquired(
        &mut self,
        leases: &Leases,
        now: Duration,
        lock: &str,
        client: u64,
        lease: i64,
        token: i64,
    ) -> Verdict {
        // The answer came so late that its lease is over by its own clock: it holds nothing.
        if now >= leases.until(lease) {
            return Ok(());
        }
        if let Some(last) = self.holders.get(lock) {
            let until = leases.until(last.lease);
            let other = last.client;
            if last.holds && other != client && now < until {
                return Err(format!(
                    "clients {other} and {client} hold {lock:?} at {now:?}; the first one until {until:?}"
                ));
            }
            let before = last.token;
            if token <= before {
                return Err(format!(
                    "client {client} has the fencing token {token} of {lock:?} after {before}"
                ));
            }
        }
        self.holders.insert(lock.to_owned(), Holder { client, lease, holds: true, token });
        Ok(())
    }

    /// A client is about to give a lock back.
    pub(crate) fn releases(&mut self, lock: &str, client: u64) {
        if let Some(holder) = self.holders.get_mut(lock)
            && holder.client == client
        {
            holder.holds = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_holders_and_an_old_token_are_found() {
        let second = Duration::from_secs(1);
        let mut leases = Leases::default();
        leases.renewed(1, second, second * 5).unwrap();
        leases.renewed(2, second, second * 5).unwrap();
        leases.renewed(3, second * 8, second * 5).unwrap();
        let mut locks = Locks::default();
        locks.acquired(&leases, second, "l", 7, 1, 10).unwrap();
        assert!(locks.acquired(&leases, second * 2, "l", 8, 2, 11).is_err());
        locks.releases("l", 7);
        assert!(locks.acquired(&leases, second * 2, "l", 8, 2, 10).is_err());
        locks.acquired(&leases, second * 2, "l", 8, 2, 12).unwrap();
        locks.acquired(&leases, second * 9, "l", 7, 3, 13).unwrap();
        // It hears of its lock when its lease is over.
        locks.acquired(&leases, second * 9, "l", 8, 2, 12).unwrap();
        assert!(locks.acquired(&leases, second * 10, "l", 9, 3, 13).is_err());
    }
}
