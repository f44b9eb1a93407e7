//! How long a member has had no leader: what it tells may be old, and its watchers better go elsewhere.

use std::time::Instant;

use crate::face::EtcdFace;

/// Since when there is none.
#[derive(Debug, Default)]
pub(crate) struct Leaderless(Option<Instant>);

impl Leaderless {
    /// Whether there has been none for longer than is waited for; to be asked now and then.
    pub(crate) fn too_long(&mut self, face: &EtcdFace) -> bool {
        if face.leader().is_some() {
            self.0 = None;
            return false;
        }
        let since = *self.0.get_or_insert_with(Instant::now);
        since.elapsed() >= face.config().leaderless_max
    }
}
