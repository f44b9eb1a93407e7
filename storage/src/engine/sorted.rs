//! The simulator's engine: a sorted map that loses in a crash what was not flushed.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Direction, Engine, EngineError, Export, Reader, Staged, Visitor, WriteBatch};

type Map = BTreeMap<Vec<u8>, Bytes>;

/// Readers hold the map they began with; a writer copies it only while one does.
#[derive(Debug, Default)]
struct Maps {
    now: Arc<Map>,
    flushed: Arc<Map>,
}

/// A sorted map as an engine.
#[derive(Debug, Default)]
pub struct SortedMap {
    maps: RwLock<Maps>,
}

impl SortedMap {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a crash of the machine leaves.
    pub fn crash(&self) {
        let mut maps = self.maps.write();
        maps.now = maps.flushed.clone();
    }

    fn now(&self) -> Arc<Map> {
        self.maps.read().now.clone()
    }
}

impl Reader for SortedMap {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.maps.read().now.get(key).cloned())
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
        let map = self.now();
        let range = map.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)));
        let mut visit = |(key, value): (&Vec<u8>, &Bytes)| match visit(key, value) {
            ControlFlow::Continue(()) => Some(()),
            ControlFlow::Break(()) => None,
        };
        match direction {
            Direction::Forward => range.map_while(&mut visit).for_each(drop),
            Direction::Reverse => range.rev().map_while(&mut visit).for_each(drop),
        }
        Ok(())
    }
}

impl Engine for SortedMap {
    fn write(&self, batch: &WriteBatch) -> Result<(), EngineError> {
        let mut maps = self.maps.write();
        let map = Arc::make_mut(&mut maps.now);
        for (key, value) in batch.changes() {
            match value {
                Some(value) => map.insert(key.to_vec(), value.clone()),
                None => map.remove(key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        let mut maps = self.maps.write();
        maps.flushed = maps.now.clone();
        Ok(())
    }

    fn export(&self) -> Result<Export, EngineError> {
        let map = self.now();
        let mut next: Bound<Vec<u8>> = Bound::Unbounded;
        Ok(Box::new(std::iter::from_fn(move || {
            let (key, value) = map.range((next.clone(), Bound::Unbounded)).next()?;
            next = Bound::Excluded(key.clone());
            Some(Ok((Bytes::copy_from_slice(key), value.clone())))
        })))
    }

    fn stage(
        &self,
        entries: &mut dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>>,
    ) -> Result<Staged<'_>, EngineError> {
        let map = entries
            .map(|entry| entry.map(|(key, value)| (key.to_vec(), value)))
            .collect::<Result<Map, _>>()?;
        let map = Arc::new(map);
        Ok(Box::new(move || {
            *self.maps.write() = Maps { now: map.clone(), flushed: map };
            Ok(())
        }))
    }

    fn approximate_size(&self) -> u64 {
        self.now().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}
