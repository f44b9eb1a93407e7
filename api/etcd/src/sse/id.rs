//! Ids of events: how far a client is, to the change.
//!
//! `12`: all of revision 12, and all before. `12.0`: all before revision 12, and of it the changes up to
//! number 0. The changes of a transaction share its revision and are numbered by the store, the same on
//! every member and whatever a client filters; only the last that is sent has the whole revision for its
//! id. So a client that is cut off in the middle of a transaction is sent the rest of it, once.

use std::fmt;
use std::str::FromStr;

use keelson_storage::mvcc::Revision;

/// How far a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventId {
    pub(super) revision: i64,
    /// The last change of the revision that it has; `None`: it has all.
    pub(super) change: Option<i64>,
}

impl EventId {
    /// All of a revision.
    pub(super) fn whole(revision: i64) -> Self {
        Self { revision, change: None }
    }

    /// The first revision of which something is still to come.
    pub(super) fn next_revision(self) -> i64 {
        if self.change.is_some() { self.revision } else { self.revision.saturating_add(1) }
    }

    /// Whether a client that is so far has this change.
    pub(super) fn has(self, change: Revision) -> bool {
        match self.change {
            Some(last) if change.main == self.revision => change.sub <= last,
            _ => change.main < self.next_revision(),
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.change {
            None => write!(f, "{}", self.revision),
            Some(change) => write!(f, "{}.{change}", self.revision),
        }
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<i64>().map_err(|_| ()),
            false => Err(()),
        };
        Ok(match text.split_once('.') {
            None => Self::whole(number(text)?),
            Some((revision, change)) => {
                Self { revision: number(revision)?, change: Some(number(change)?) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_a_client_has() {
        let at = |main, sub| Revision { main, sub };
        for (text, next, has, lacks) in [
            ("12", 13, at(12, 5), at(13, 0)),
            ("12.0", 12, at(12, 0), at(12, 1)),
            ("12.3", 12, at(11, 9), at(13, 0)),
            ("0", 1, at(0, 0), at(1, 0)),
        ] {
            let id: EventId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(id.next_revision(), next, "{text}");
            assert!(id.has(has) && !id.has(lacks), "{text}");
        }
        for text in ["", "a", "-1", "+1", "1.", ".1", "1.2.3", "1 ", "99999999999999999999"] {
            assert!(text.parse::<EventId>().is_err(), "{text:?}");
        }
    }
}
