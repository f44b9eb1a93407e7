//! Batches of writes, and reading through a batch that is not written yet.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::{Direction, EngineError, Reader, Visitor};

/// Puts and deletes that take effect together; the last one on a key counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    changes: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl WriteBatch {
    /// Sets a key.
    pub fn put(&mut self, key: Vec<u8>, value: Bytes) {
        self.changes.insert(key, Some(value));
    }

    /// Removes a key; no error where there is none.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    /// Keys with their new value (`None`: removed), in key order.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        self.changes.iter().map(|(key, value)| (key.as_slice(), value.as_ref()))
    }

    /// How many keys it changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// An engine as it will be once a batch is written.
pub struct Overlay<'a> {
    base: &'a dyn Reader,
    /// What is to be written.
    pub batch: WriteBatch,
}

impl<'a> Overlay<'a> {
    /// Nothing changed yet.
    pub fn new(base: &'a dyn Reader) -> Self {
        Self { base, batch: WriteBatch::default() }
    }

    fn pending(&self, start: &[u8], end: &[u8]) -> Range<'_, Vec<u8>, Option<Bytes>> {
        self.batch.changes.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)))
    }
}

impl Reader for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.batch.changes.get(key) {
            Some(pending) => Ok(pending.clone()),
            None => self.base.get(key),
        }
    }

    fn walk(
        &self,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError> {
        if start >= end {
            return Ok(());
        }
        let mut pending = self.pending(start, end);
        let mut waiting = next(&mut pending, direction);
        if waiting.is_none() {
            return self.base.walk(start, end, direction, visit);
        }
        let mut ended = false;
        self.base.walk(start, end, direction, &mut |key, value| {
            while let Some((changed, change)) = waiting {
                let order = match direction {
                    Direction::Forward => changed.as_slice().cmp(key),
                    Direction::Reverse => key.cmp(changed.as_slice()),
                };
                if order.is_gt() {
                    break;
                }
                waiting = next(&mut pending, direction);
                if let Some(change) = change
                    && visit(changed, change).is_break()
                {
                    ended = true;
                    return ControlFlow::Break(());
                }
                if order.is_eq() {
                    return ControlFlow::Continue(());
                }
            }
            let flow = visit(key, value);
            ended = flow.is_break();
            flow
        })?;
        while let (false, Some((changed, change))) = (ended, waiting) {
            if let Some(change) = change {
                ended = visit(changed, change).is_break();
            }
            waiting = next(&mut pending, direction);
        }
        Ok(())
    }
}

fn next<'a>(
    pending: &mut Range<'a, Vec<u8>, Option<Bytes>>,
    direction: Direction,
) -> Option<(&'a Vec<u8>, &'a Option<Bytes>)> {
    match direction {
        Direction::Forward => pending.next(),
        Direction::Reverse => pending.next_back(),
    }
}
