//! Log matching: two logs with an entry of the same index and term have the same entry there, and
//! the same before it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use keelson_storage::wal::{EntryRecord, LogId};

use super::Verdict;

/// Every entry that was ever in a log.
#[derive(Default)]
pub(crate) struct LogMatching {
    /// By index and term: what it says, and the term of the one before it where that is known.
    entries: BTreeMap<(u64, u64), (u64, Option<u64>)>,
    /// For each member: the terms of its entries by index.
    logs: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl LogMatching {
    /// A member put this at the end of its log.
    pub(crate) fn appended(&mut self, member: u64, entry: &EntryRecord) -> Verdict {
        let LogId { term, index } = entry.id;
        let mut digest = DefaultHasher::new();
        (entry.kind as u8, &entry.payload).hash(&mut digest);
        let digest = digest.finish();
        let log = self.logs.entry(member).or_default();
        log.split_off(&index);
        let before = log.get(&(index - 1)).copied();
        log.insert(index, term);
        // A released past needs no memory.
        while log.len() > 4096 {
            log.pop_first();
        }
        let known = self.entries.entry((index, term)).or_insert((digest, before));
        if known.0 != digest {
            return Err(format!(
                "entry {index} of term {term} is not the same in member {member}'s log as in another's"
            ));
        }
        match (known.1, before) {
            (Some(one), Some(other)) if one != other => Err(format!(
                "before entry {index} of term {term} is one of term {other} in member {member}'s log, \
                 and one of term {one} in another's"
            )),
            (None, Some(_)) => {
                known.1 = before;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use keelson_storage::wal::EntryKind;

    use super::*;

    #[test]
    fn another_entry_and_another_past_are_found() {
        let entry = |term, index, text: &'static str| EntryRecord {
            id: LogId { term, index },
            kind: EntryKind::Command,
            payload: text.into(),
        };
        let mut logs = LogMatching::default();
        for (member, term, index, text) in
            [(1, 1, 1, "a"), (1, 1, 2, "b"), (2, 1, 1, "a"), (2, 2, 2, "c"), (2, 2, 3, "d")]
        {
            logs.appended(member, &entry(term, index, text)).unwrap();
        }
        assert!(logs.appended(1, &entry(2, 2, "x")).is_err(), "another entry");
        logs.appended(3, &entry(1, 2, "b")).unwrap();
        assert!(logs.appended(3, &entry(2, 3, "d")).is_err(), "another past");
    }
}
