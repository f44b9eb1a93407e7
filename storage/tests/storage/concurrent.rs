//! Readers and watchers beside the writer, on real threads and RocksDB.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use keelson_storage::command::{Op, command};
use keelson_storage::engine::{RocksDb, RocksOptions};
use keelson_storage::entry::{LogEntry, Payload};
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::mvcc::ReadError;
use keelson_storage::view::View;
use keelson_storage::watch::{Output, WatchHub, WatchSpec};
use pb::request_op::Request;
use prost::Message as _;

use crate::cluster::{op, put, range};

const BATCHES: u64 = 400;
const BATCH: u64 = 10;

/// Each transaction sets both keys: whoever reads them sees one revision, and exactly that of the
/// header where it reads the newest.
fn read_until(view: &View, ended: &AtomicBool) -> u64 {
    let mut reads = 0;
    while !ended.load(Ordering::Relaxed) {
        let response = view.range(&range("a", "c")).unwrap();
        let at = response.header.unwrap().revision;
        assert!(response.kvs.iter().all(|kv| kv.mod_revision == at), "at {at}: {:?}", response.kvs);
        assert_eq!(response.kvs.len(), if at == 1 { 0 } else { 2 });
        let scanned = view.scan(b"a", b"c", &mut |at, _, kv| {
            assert_eq!(KeyValue::decode(kv).unwrap().mod_revision, at);
            ControlFlow::Continue(())
        });
        assert!(scanned.unwrap().is_none_or(|now| now >= at));
        let past = pb::RangeRequest { revision: (at - 5).max(1), ..range("a", "c") };
        match view.range(&past) {
            Ok(response) => {
                let same = response.kvs.iter().all(|kv| kv.mod_revision == past.revision);
                assert!(same, "at {}: {:?}", past.revision, response.kvs);
            }
            Err(ReadError::Compacted { wanted, .. }) => assert_eq!(wanted, past.revision),
            Err(error) => panic!("{error}"),
        }
        reads += 1;
    }
    reads
}

fn watch_until(hub: &WatchHub, last: i64) {
    let mut stream = hub.stream();
    stream
        .create(WatchSpec { key: "a".into(), start_revision: 2, ..WatchSpec::default() }, 0)
        .unwrap();
    let mut next = 2;
    while next <= last {
        let mut outputs = stream.take();
        if stream.is_behind() {
            outputs.extend(stream.catch_up().unwrap());
        }
        for output in outputs {
            match output {
                Output::Events { events, .. } => {
                    for event in events {
                        assert_eq!(event.change().revision.main, next);
                        next += 1;
                    }
                }
                Output::Compacted { .. } => return,
                Output::Progress { .. } => panic!("not asked for"),
            }
        }
        std::thread::yield_now();
    }
}

#[test]
fn readers_and_watchers_see_whole_revisions_while_writing_and_compacting_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = RocksOptions { block_cache_bytes: 1 << 20, write_buffer_bytes: 1 << 18 };
    let engine = Arc::new(RocksDb::open(folder.path(), options).unwrap());
    let mut machine = StateMachine::open(engine, Options::default()).unwrap();
    let (view, hub) = (machine.view(), machine.hub());
    let ended = AtomicBool::new(false);
    let last = 1 + i64::try_from(BATCHES * BATCH).unwrap();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read_until(&view, &ended))).collect();
        let watcher = scope.spawn(|| watch_until(&hub, last));
        for batch in 0..BATCHES {
            let entries: Vec<LogEntry> = (1..=BATCH)
                .map(|n| {
                    let success = ["a", "b"].map(|key| op(Request::RequestPut(put(key, "v"))));
                    let txn = pb::TxnRequest { success: success.to_vec(), ..Default::default() };
                    let payload = Payload::Command(command(Op::Txn(txn)));
                    LogEntry { term: 1, index: machine.applied().index + n, payload }
                })
                .collect();
            assert!(machine.apply(&entries).iter().all(Result::is_ok));
            if batch % 100 == 50 {
                let revision = view.revision() - 100;
                let compaction = pb::CompactionRequest { revision, physical: false };
                let payload = Payload::Command(command(Op::Compaction(compaction)));
                let index = machine.applied().index + 1;
                machine.apply(&[LogEntry { term: 1, index, payload }]);
            }
        }
        watcher.join().unwrap();
        ended.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert_eq!(view.revision(), last);
}
