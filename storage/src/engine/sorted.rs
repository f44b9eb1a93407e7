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
    /// What was written since, in order, where a crash may keep some of it.
    unflushed: Option<Vec<WriteBatch>>,
}

impl Maps {
    fn put(&mut self, batch: &WriteBatch) {
        let map = Arc::make_mut(&mut self.now);
        for (key, value) in batch.changes() {
            match value {
                Some(value) => map.insert(key.to_vec(), value.clone()),
                None => map.remove(key),
            };
        }
    }
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

    /// An empty one that remembers each batch, for [`SortedMap::crash_keeping`].
    pub fn remembering() -> Self {
        let map = Self::default();
        map.maps.write().unflushed = Some(Vec::new());
        map
    }

    /// What a crash of the machine leaves.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// What a crash leaves where so many batches had found their way to the disk without a flush.
    pub fn crash_keeping(&self, batches: usize) {
        let mut maps = self.maps.write();
        maps.now = maps.flushed.clone();
        let unflushed = maps.unflushed.as_mut().map(std::mem::take).unwrap_or_default();
        for batch in unflushed.iter().take(batches) {
            maps.put(batch);
        }
        maps.flushed = maps.now.clone();
    }

    /// How many batches wait for a flush, as far as they are remembered.
    pub fn unflushed(&self) -> usize {
        self.maps.read().unflushed.as_ref().map_or(0, Vec::len)
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
        maps.put(batch);
        if let Some(unflushed) = &mut maps.unflushed {
            unflushed.push(batch.clone());
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        let mut maps = self.maps.write();
        maps.flushed = maps.now.clone();
        if let Some(unflushed) = &mut maps.unflushed {
            unflushed.clear();
        }
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
            let mut maps = self.maps.write();
            let unflushed = maps.unflushed.is_some().then(Vec::new);
            *maps = Maps { now: map.clone(), flushed: map, unflushed };
            Ok(())
        }))
    }

    fn approximate_size(&self) -> u64 {
        self.now().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}
