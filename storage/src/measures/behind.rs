//! Who is behind, and from where on.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// By number, the first revision that each of those behind has not got.
#[derive(Debug, Default)]
pub struct Behind(Mutex<BTreeMap<u64, i64>>);

impl Behind {
    /// One is behind from this revision on, or no more.
    pub fn set(&self, number: u64, from: Option<i64>) {
        let mut all = self.0.lock();
        match from {
            Some(from) => all.insert(number, from),
            None => all.remove(&number),
        };
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// The first revision that any of them has not got.
    pub fn oldest(&self) -> Option<i64> {
        self.0.lock().values().copied().min()
    }
}
