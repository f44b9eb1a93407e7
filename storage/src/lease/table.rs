//! Table: the leases that there are, and which of them came or went last.
//!
//! Whoever keeps deadlines follows the changes: with many leases, looking through all of them at
//! each grant would cost more than the grant.

use std::collections::{BTreeMap, VecDeque};

use super::Lease;

/// Changes that are remembered; who has seen fewer looks at all leases.
const CHANGES: usize = 4096;

/// The leases by id.
#[derive(Debug, Default)]
pub(crate) struct Table {
    leases: BTreeMap<i64, Lease>,
    /// The last that came, or went (`None`).
    recent: VecDeque<(i64, Option<Lease>)>,
    /// Changes so far, those that are no longer remembered included.
    changes: u64,
}

/// What has changed since somebody looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// These came, or went (`None`), in this order.
    Some(Vec<(i64, Option<Lease>)>),
    /// Too much: all leases.
    All(BTreeMap<i64, Lease>),
}

impl Table {
    pub(crate) fn get(&self, id: i64) -> Option<Lease> {
        self.leases.get(&id).copied()
    }

    pub(crate) fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    pub(crate) fn all(&self) -> &BTreeMap<i64, Lease> {
        &self.leases
    }

    pub(crate) fn insert(&mut self, lease: Lease) {
        self.leases.insert(lease.id, lease);
        self.changed(lease.id, Some(lease));
    }

    pub(crate) fn remove(&mut self, id: i64) -> Option<Lease> {
        let removed = self.leases.remove(&id)?;
        self.changed(id, None);
        Some(removed)
    }

    /// To note what is left of it.
    pub(crate) fn get_mut(&mut self, id: i64) -> Option<&mut Lease> {
        self.leases.get_mut(&id)
    }

    /// Puts others in the place of all.
    pub(crate) fn replace(&mut self, leases: BTreeMap<i64, Lease>) {
        self.leases = leases;
        self.recent.clear();
        // One that nobody remembers.
        self.changes += 1;
    }

    /// What has changed since `seen`, which is now the present.
    pub(crate) fn news(&self, seen: &mut u64) -> News {
        let missed = usize::try_from(self.changes - std::mem::replace(seen, self.changes));
        match missed {
            Ok(missed) if missed <= self.recent.len() => {
                let recent = self.recent.range(self.recent.len() - missed..);
                News::Some(recent.copied().collect())
            }
            _ => News::All(self.leases.clone()),
        }
    }

    fn changed(&mut self, id: i64, now: Option<Lease>) {
        if self.recent.len() == CHANGES {
            self.recent.pop_front();
        }
        self.recent.push_back((id, now));
        self.changes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: i64) -> Lease {
        Lease { id, ttl_seconds: 10, remaining_ttl_seconds: 0 }
    }

    #[test]
    fn changes_are_told_once_and_in_order() {
        let (mut table, mut seen) = (Table::default(), 0);
        table.insert(lease(1));
        table.insert(lease(2));
        table.remove(1);
        let expected = vec![(1, Some(lease(1))), (2, Some(lease(2))), (1, None)];
        assert_eq!(table.news(&mut seen), News::Some(expected));
        assert_eq!(table.news(&mut seen), News::Some(Vec::new()));
        table.insert(lease(3));
        assert_eq!(table.news(&mut seen), News::Some(vec![(3, Some(lease(3)))]));
    }

    #[test]
    fn who_has_missed_too_much_looks_at_all() {
        let (mut table, mut seen) = (Table::default(), 0);
        for id in 0..=CHANGES as i64 {
            table.insert(lease(id));
        }
        assert_eq!(table.news(&mut seen), News::All(table.all().clone()));
        table.replace(BTreeMap::from([(7, lease(7))]));
        assert_eq!(table.news(&mut seen), News::All(BTreeMap::from([(7, lease(7))])));
        assert_eq!(table.news(&mut seen), News::Some(Vec::new()));
    }
}
