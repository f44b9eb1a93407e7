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
#[derive(Debug, Clone)]
pub(crate) struct Reachable {
    begun: Moment,
    contacts: Arc<Mutex<BTreeMap<u64, Contact>>>,
}

impl Reachable {
    pub(crate) fn new() -> Self {
        Self { begun: Moment::now(), contacts: Arc::default() }
    }

    /// A member has answered.
    pub(crate) fn heard(&self, id: u64) {
        self.contacts.lock().entry(id).or_default().heard = Some(Moment::now());
    }

    /// A member has not answered.
    pub(crate) fn lost(&self, id: u64) {
        self.contacts.lock().entry(id).or_default().lost = Some(Moment::now());
    }

    /// Whether a member answered within `limit`, and not in vain since.
    pub(crate) fn is_heard(&self, id: u64, limit: Duration) -> bool {
        let contacts = self.contacts.lock();
        let Some(Contact { heard: Some(heard), lost }) = contacts.get(&id) else { return false };
        heard.age() < limit && lost.is_none_or(|lost| lost < *heard)
    }

    /// Whether it has answered every time of late.
    // upstream: etcd v3.7 `isConnectedToQuorumSince`: for five seconds
    pub(crate) fn is_healthy(&self, id: u64) -> bool {
        let lost = self.contacts.lock().get(&id).and_then(|contact| contact.lost);
        lost.unwrap_or(self.begun).max(self.begun).age() >= HEALTHY_AFTER
    }
}
