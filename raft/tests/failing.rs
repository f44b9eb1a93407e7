//! A member whose disk or engine fails: it stops, says why, and has what it acknowledged after.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_raft::{Node, NodeConfig, ProposeError, Stop};
use keelson_storage::command::{Command, Op, command};
use keelson_storage::disk::{Failing, FailingDisk, RealDisk};
use keelson_storage::engine::{
    Direction, Engine, EngineError, Export, Reader, SortedMap, Staged, Visitor, WriteBatch,
};
use keelson_storage::machine::{Options, StateMachine};

async fn start(dir: &Path, disk: &FailingDisk, engine: Arc<dyn Engine>) -> Node {
    let machine = StateMachine::open(engine, Options::default()).unwrap();
    let mut config = NodeConfig::new(1, 7, dir.to_owned());
    config.heartbeat = Duration::from_millis(20);
    config.election = Duration::from_millis(100);
    config.disk = Arc::new(disk.clone());
    Node::start(config, machine).await.unwrap()
}

fn put(key: &str) -> Command {
    let key = Bytes::from(key.to_owned());
    command(Op::Put(pb::PutRequest { key: key.clone(), value: key, ..Default::default() }))
}

async fn reason(node: &Node) -> String {
    match tokio::time::timeout(Duration::from_secs(20), node.stopped()).await.unwrap() {
        Stop::Failed(reason) => reason,
        Stop::Removed => panic!("it was not removed"),
    }
}

/// What was asked for may still be in the log.
fn is_unknown(error: &ProposeError) -> bool {
    matches!(error, ProposeError::Stopped | ProposeError::LeaderChanged)
}

#[tokio::test]
async fn a_member_stops_when_its_log_cannot_be_written_and_says_why() {
    let expected = [
        (Failing::Full, "No space left on device"),
        (Failing::Writes, "Input/output error"),
        (Failing::Syncs, "Input/output error"),
        (Failing::ReadOnly, "Read-only file system"),
    ];
    for (failing, wanted) in expected {
        let dir = tempfile::tempdir().unwrap();
        let disk = FailingDisk::new(Arc::new(RealDisk));
        let node = start(dir.path(), &disk, Arc::new(SortedMap::new())).await;
        let mut acknowledged = 0;
        disk.fail(disk.steps() + 20, failing, u64::MAX);
        // More than the zeros laid out ahead have room for.
        let large = "x".repeat(64 * 1024);
        let refused = loop {
            match node.propose(put(&format!("{acknowledged:04}{large}"))).await {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert!(is_unknown(&refused), "{failing:?}: {refused}");
        let reason = reason(&node).await;
        assert!(reason.contains(wanted) && reason.contains(".wal"), "{failing:?}: {reason}");
        assert_eq!(node.propose(put("late")).await.unwrap_err(), ProposeError::Stopped);
        assert!(node.read_index().await.is_err(), "{failing:?}: nobody is led");
        drop(node);

        let sound = FailingDisk::new(Arc::new(RealDisk));
        let node = start(dir.path(), &sound, Arc::new(SortedMap::new())).await;
        for number in 0..acknowledged {
            let key = Bytes::from(format!("{number:04}{large}"));
            let request = pb::RangeRequest { key, ..Default::default() };
            assert_eq!(node.view().range(&request).unwrap().count, 1, "{failing:?}: {number}");
        }
        node.propose(put("after")).await.unwrap();
    }
}

#[tokio::test]
async fn a_member_whose_disk_fails_while_nobody_writes_leads_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new(Arc::new(RealDisk));
    let node = start(dir.path(), &disk, Arc::new(SortedMap::new())).await;
    node.propose(put("a")).await.unwrap();
    // The idle statement of what is synced is the next that is written.
    disk.fail(disk.steps(), Failing::Writes, u64::MAX);
    let reason = reason(&node).await;
    assert!(reason.contains("Input/output error"), "{reason}");
    assert!(!node.leadership().borrow().is_own);
}

#[tokio::test]
async fn a_member_stops_when_its_engine_cannot_be_written_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new(Arc::new(RealDisk));
    let engine = Arc::new(FullEngine::default());
    let node = start(dir.path(), &disk, engine.clone()).await;
    node.propose(put("a")).await.unwrap();
    engine.full.store(true, Ordering::SeqCst);
    let refused = node.propose(put("b")).await.unwrap_err();
    assert!(is_unknown(&refused), "{refused}");
    let reason = reason(&node).await;
    assert!(reason.contains("No space left on device"), "{reason}");
    node.shutdown().await;
    drop(node);

    // What was in the log already is applied by the next start.
    let node = start(dir.path(), &disk, Arc::new(SortedMap::new())).await;
    let request = pb::RangeRequest { key: "b".into(), ..Default::default() };
    assert_eq!(node.view().range(&request).unwrap().count, 1);
}

/// An engine whose disk can be full.
#[derive(Debug, Default)]
struct FullEngine {
    engine: SortedMap,
    full: AtomicBool,
}

impl Reader for FullEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(key)
    }

    fn walk(
        &self,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError> {
        self.engine.walk(start, end, direction, visit)
    }
}

impl Engine for FullEngine {
    fn write(&self, batch: &WriteBatch) -> Result<(), EngineError> {
        if self.full.load(Ordering::SeqCst) {
            let message = "IO error: No space left on device".to_owned();
            return Err(EngineError::Rocks { path: "db".to_owned(), message });
        }
        self.engine.write(batch)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.engine.flush()
    }

    fn export(&self) -> Result<Export, EngineError> {
        self.engine.export()
    }

    fn stage(
        &self,
        entries: &mut dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>>,
    ) -> Result<Staged<'_>, EngineError> {
        self.engine.stage(entries)
    }

    fn approximate_size(&self) -> u64 {
        self.engine.approximate_size()
    }
}
