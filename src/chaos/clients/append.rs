//! Lists that only grow: each element is added on the condition that nobody else has added one.

use rand::Rng as _;

use super::Client;

/// Lists that clients share.
const LISTS: u32 = 2;
/// A list of so many bytes is begun anew.
const BYTES_MAX: usize = 2000;

impl Client {
    /// One turn.
    pub(super) async fn append(&mut self) {
        let key = format!("list/{}", self.random.random_range(0..LISTS));
        let Some(found) = self.read(&key, false).await else { return };
        let (list, element) = (found.value.flatten(), self.value());
        let longer = match &list {
            Some(list) if list.len() < BYTES_MAX => format!("{list},{element}"),
            Some(_) | None => element,
        };
        self.swap(&key, list, Some(longer)).await;
    }
}
