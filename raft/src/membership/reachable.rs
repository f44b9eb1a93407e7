//! Reachable: which members answer, by the heartbeats that they are sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::runtime::Moment;

/// Who did not answer within this time does not count as reached yet.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Contact {
    heard: Option<Moment>,
    lost: Option<Moment>,
}

/// When members answered last; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reachable {
    contacts: Arc<Mutex<BTreeMap<u64, Contact>>>,
}

impl Reachable {
    /// A member has answered.
    pub(crate) fn heard(&self, id: u64) {
        self.contacts.lock().entry(id).or_default().heard = Some(Moment::now());
    }

    /// A member has not answered.
    pub(crate) fn lost(&self, id: u64) {
        self.contacts.lock().entry(id).or_default().lost = Some(Moment::now());
    }

    /// Whether a member answered within `limit`, and every time of late.
    pub(crate) fn is_reached(&self, id: u64, limit: Duration) -> bool {
        let contacts = self.contacts.lock();
        let Some(contact) = contacts.get(&id) else { return false };
        contact.heard.is_some_and(|heard| heard.age() < limit)
            && contact.lost.is_none_or(|lost| lost.age() >= HEALTHY_AFTER)
    }
}
