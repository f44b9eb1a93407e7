//! The format of a recorded history: one JSON object a line, told in docs/chaos.md. The first line
//! says which version this is; what a version does not know is refused, not skipped.

use serde::{Deserialize, Deserializer, Serialize};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// What the first line's `history` says.
pub const NAME: &str = "keelson";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`NAME`].
    pub history: String,
    /// The version of the format.
    pub version: u32,
    /// What made it, in its own words: a tool, a seed, a scenario.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The members, in the order in which they are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

/// Any other line. Times are microseconds since any moment, the same one for all lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Line {
    /// An operation of a client, written when it ended.
    Op(Op),
    /// A watcher opens a stream; the same one again: it goes on from there.
    Watch {
        /// The watcher.
        watcher: String,
        /// When.
        at: u64,
        /// First key.
        key: String,
        /// The key after the last; absent: the one key; empty: no end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<String>,
        /// The first revision it asks for.
        from: i64,
        /// The member it asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<String>,
    },
    /// An answer with events.
    Events {
        /// The watcher.
        watcher: String,
        /// When it came.
        at: u64,
        /// The store's revision, as the answer says.
        revision: i64,
        /// The events.
        events: Vec<Change>,
    },
    /// An answer without: nothing at or below this revision is still to come.
    Progress {
        /// The watcher.
        watcher: String,
        /// When it came.
        at: u64,
        /// The revision.
        revision: i64,
    },
    /// The watcher was told that what it asks for is compacted up to here, and starts anew.
    Compacted {
        /// The watcher.
        watcher: String,
        /// When.
        at: u64,
        /// The oldest revision that is kept.
        revision: i64,
    },
    /// Every watcher had time to hear of everything up to this revision.
    Settled {
        /// When.
        at: u64,
        /// The revision.
        revision: i64,
    },
    /// A fault begins or ends.
    Fault {
        /// When it begins.
        at: u64,
        /// When it ends; absent: it does not, or is over at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
        /// Its name in a scenario.
        fault: String,
        /// Whom it hits.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        members: Vec<String>,
        /// Directed links that it breaks or disturbs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        links: Vec<(String, String)>,
        /// More about it, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// A member's state as it was seen from outside, or told by the member itself.
    State {
        /// When.
        at: u64,
        /// The member.
        member: String,
        /// `leader`, `candidate`, `follower`, `leaderless`, `learner`, `down`, `paused`.
        role: String,
        /// Its term.
        #[serde(default)]
        term: u64,
        /// Why, where the member knows.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        cause: String,
    },
    /// A sync of a member's log that took long, or anything else that held it up.
    Stall {
        /// When it began.
        at: u64,
        /// When it ended.
        until: u64,
        /// The member.
        member: String,
        /// What it was.
        what: String,
    },
    /// Syncs of a member's log in some time, that they may be drawn.
    Syncs {
        /// From when on.
        at: u64,
        /// Until when.
        until: u64,
        /// The member.
        member: String,
        /// How many there were.
        count: u64,
        /// How long they took together, in microseconds.
        micros: u64,
    },
    /// Anything worth a word.
    Note {
        /// When.
        at: u64,
        /// The word.
        text: String,
    },
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// The client: it asks for one thing at a time.
    pub client: String,
    /// The member it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// When it was asked for.
    pub call: u64,
    /// When it was answered or given up.
    #[serde(rename = "return")]
    pub returned: u64,
    /// What for.
    pub request: Request,
    /// What came of it.
    pub outcome: Outcome,
    /// What the client was told; of an operation that is `ok`.
    #[serde(default, skip_serializing_if = "Response::is_empty")]
    pub response: Response,
    /// The error, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// What came of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It happened, as the response tells.
    Ok,
    /// It did not happen.
    Fail,
    /// It may have happened, once, at any time since it was asked for.
    Unknown,
}

/// What was asked for. `null` is the value of a key that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Reads a key. Response: `value`.
    Read {
        /// The key.
        key: String,
        /// Any member answers from what it has: an old value is no mistake.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        serializable: bool,
    },
    /// Sets a key.
    Write {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The lease that the key ends with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<i64>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Puts `to` in the place of `from`. Response: `succeeded`, and if not, `value`: what is there.
    Swap {
        /// The key.
        key: String,
        /// What should be there.
        from: Option<String>,
        /// What should be there afterwards.
        to: Option<String>,
    },
    /// Puts an element at the end of a list, whose elements are parted by commas.
    Append {
        /// The key.
        key: String,
        /// The element.
        value: String,
    },
    /// Several steps at one moment. Response: `succeeded`, and `values` of the reads, in order.
    Txn {
        /// What must hold.
        #[serde(default, rename = "if", skip_serializing_if = "Vec::is_empty")]
        compares: Vec<Compare>,
        /// What is done if it does.
        #[serde(default)]
        then: Vec<TxnStep>,
        /// What is done if not.
        #[serde(default, rename = "else", skip_serializing_if = "Vec::is_empty")]
        otherwise: Vec<TxnStep>,
    },
    /// Takes a lock, or wins an election. Response: `token`, which only grows.
    Lock {
        /// The lock.
        name: String,
        /// The lease that it is held by.
        lease: i64,
    },
    /// Gives it back.
    Unlock {
        /// The lock.
        name: String,
        /// The token it was taken with.
        token: i64,
    },
    /// Asks for a lease. Response: `lease`, `ttl` in seconds.
    Grant {
        /// Seconds.
        ttl: i64,
    },
    /// Renews a lease. Response: `ttl` in seconds; 0: there is no such lease.
    KeepAlive {
        /// The lease.
        lease: i64,
    },
    /// Ends a lease.
    Revoke {
        /// The lease.
        lease: i64,
    },
    /// Forgets what is older.
    Compact {
        /// The oldest revision to keep.
        revision: i64,
    },
}

/// What a key must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Option<String>,
}

/// A step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TxnStep {
    /// Reads a key.
    Read {
        /// The key.
        key: String,
    },
    /// Sets it; `null` removes it.
    Write {
        /// The key.
        key: String,
        /// The value.
        value: Option<String>,
    },
    /// Puts an element at the end of a list.
    Append {
        /// The key.
        key: String,
        /// The element.
        value: String,
    },
}

/// What a client was told. Fields that are not there were not told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Response {
    /// What was read; `null`: the key is not there.
    #[serde(deserialize_with = "told", skip_serializing_if = "Option::is_none")]
    pub value: Option<Option<String>>,
    /// Whether all comparisons held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<bool>,
    /// What the reads of a transaction saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Option<String>>>,
    /// The store's revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// A lock's fencing token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<i64>,
    /// A lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<i64>,
    /// Its seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
}

impl Response {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn told<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

/// One event of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The key's value afterwards; `null`: it was deleted.
    pub value: Option<String>,
    /// The revision of the change.
    pub revision: i64,
    /// The revision that created the key; 0 where it is deleted.
    #[serde(default)]
    pub created: i64,
    /// How often it was written since; 0 where it is deleted.
    #[serde(default)]
    pub version: i64,
    /// The key before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Former>,
}

/// A key before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Former {
    /// Its value.
    pub value: String,
    /// The revision that created it.
    pub created: i64,
    /// The revision that wrote it.
    pub changed: i64,
    /// How often it was written since it was created.
    pub version: i64,
}
