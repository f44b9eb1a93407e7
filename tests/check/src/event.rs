//! Events: what watchers are told, in the order of revisions. Keys and values are numbers here, so
//! that a long run stays small in memory.

/// A key as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub value: u64,
    /// The revision that created the key.
    pub created: i64,
    /// The revision that wrote the value.
    pub changed: i64,
    /// How often the key was written since it was created.
    pub version: i64,
}

/// One change of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The revision of the change.
    pub revision: i64,
    /// The key.
    pub key: u64,
    /// The key afterwards; `None`: it was deleted.
    pub now: Option<Stored>,
    /// The key before.
    pub former: Option<Stored>,
}
