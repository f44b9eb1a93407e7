//! Revisions never go back: not in what a member shows in one life, and not in the log.

use std::collections::BTreeMap;

use super::Verdict;

/// The newest revision that each life of a member has shown.
#[derive(Default)]
pub(crate) struct Revisions {
    shown: BTreeMap<(u64, u64), i64>,
    last: i64,
}

impl Revisions {
    /// A member's state is at this revision in this life of its.
    pub(crate) fn shown(&mut self, member: u64, life: u64, revision: i64) -> Verdict {
        let last = self.shown.entry((member, life)).or_insert(revision);
        if revision < *last {
            return Err(format!("member {member} went back from revision {last} to {revision}"));
        }
        *last = revision;
        Ok(())
    }

    /// One entry made several revisions, the last of them this one.
    pub(crate) fn at(mut self, revision: i64) -> Self {
        self.last = revision;
        self
    }

    /// A change has this revision; it is the next one.
    pub(crate) fn changed(&mut self, revision: i64) -> Verdict {
        let before = std::mem::replace(&mut self.last, revision);
        if before != 0 && revision != before && revision != before + 1 {
            return Err(format!("revision {revision} follows revision {before}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_within_a_life_is_found() {
        let mut revisions = Revisions::default();
        revisions.shown(1, 1, 5).unwrap();
        revisions.shown(1, 2, 3).unwrap();
        assert!(revisions.shown(1, 1, 4).is_err());
        revisions.changed(5).unwrap();
        revisions.changed(6).unwrap();
        assert!(revisions.changed(8).is_err());
    }
}
