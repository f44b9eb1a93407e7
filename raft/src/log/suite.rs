//! The consensus library's own test-suite of log stores and state machines, against ours.
//!
//! The suite applies entries with gaps, which a running library never does and our state machine
//! refuses; so it sees the machine through [`Filled`], which applies blank entries in between.

use std::sync::Arc;

use std::io;

use futures::{Stream, StreamExt};
use keelson_storage::disk::RealDisk;
use keelson_storage::engine::SortedMap;
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::wal::{Identity, WalOptions};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{Entry, EntryPayload, OptionalSend, Snapshot, StorageError};
use tempfile::TempDir;

use super::store::{LogOptions, LogStore};
use crate::config::APPLY_WARNING;
use crate::machine::{Machine, SnapshotAfter, SnapshotData};
use crate::proposals::Proposals;
use crate::types::{CommittedLeader, LogId, Member, SnapshotMeta, StoredMembership, Types};

const AFTER: SnapshotAfter = SnapshotAfter { entries: usize::MAX, bytes: usize::MAX };

struct Builder {
    cache_bytes: usize,
}

impl StoreBuilder<Types, LogStore, Filled, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Filled), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions {
            wal: WalOptions { segment_bytes: 4096, zero_bytes: 4096 },
            cache_bytes: self.cache_bytes,
            ..LogOptions::new(dir.path().to_owned(), Identity { cluster_id: 1, node_id: 1 })
        };
        let log = LogStore::open(Arc::new(RealDisk), &options).unwrap();
        let machine = StateMachine::open(Arc::new(SortedMap::new()), Options::default()).unwrap();
        Ok((dir, log, Filled(Machine::new(machine, Proposals::new(), AFTER, APPLY_WARNING, None))))
    }
}

struct Filled(Machine);

impl RaftStateMachine<Types> for Filled {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut next = self.applied_state().await?.0.map_or(0, |id| id.index + 1);
        let entries: Vec<_> = entries.collect().await;
        let mut filled = Vec::new();
        for item in entries {
            let (entry, responder) = item?;
            for index in next..entry.log_id.index {
                let log_id = LogId { index, ..entry.log_id };
                filled.push(Ok((Entry { log_id, payload: EntryPayload::Blank }, None)));
            }
            next = entry.log_id.index + 1;
            filled.push(Ok((entry, responder)));
        }
        self.0.apply(futures::stream::iter(filled)).await
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.0.get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        self.0.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<CommittedLeader, u64, Member, SnapshotData>>, io::Error> {
        self.0.get_current_snapshot().await
    }
}

#[tokio::test]
async fn the_librarys_own_suite_passes() {
    Suite::test_all(Builder { cache_bytes: 1024 * 1024 }).await.unwrap();
}

#[tokio::test]
async fn it_passes_when_entries_are_read_from_disk() {
    Suite::test_all(Builder { cache_bytes: 0 }).await.unwrap();
}
