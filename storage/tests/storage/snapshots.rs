//! Positions, flushes and snapshots.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use keelson_storage::engine::{RocksDb, RocksOptions, SortedMap};
use keelson_storage::entry::{LogEntry, Payload};
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::snapshot::{SnapshotError, check};

use crate::cluster::Member;

#[test]
fn a_crash_goes_back_to_the_flushed_position_and_the_log_brings_the_rest() {
    let mut member = Member::new();
    member.put("a", "1");
    assert_eq!(member.machine.flushed(), 0);
    member.machine.flush();
    assert_eq!(member.machine.flushed(), 1);
    member.put("b", "1");
    member.engine.crash();
    let mut member = Member::on(member.engine);
    assert_eq!((member.machine.applied().index, member.machine.flushed()), (1, 1));
    assert_eq!(member.machine.view().revision(), 2);
    assert_eq!(member.put("b", "1"), 3);
}

#[test]
#[should_panic(expected = "applied index")]
fn an_entry_is_applied_once() {
    let mut member = Member::new();
    let entry = LogEntry { term: 1, index: 1, payload: Payload::Blank };
    member.machine.apply(std::slice::from_ref(&entry));
    member.machine.apply(&[entry]);
}

fn install_into(engine: Arc<dyn keelson_storage::engine::Engine>, bytes: &[u8]) -> StateMachine {
    let mut machine =
        StateMachine::open(engine, Options { compaction_thread: false, ..Options::default() })
            .unwrap();
    machine.install(bytes).unwrap();
    machine
}

#[test]
fn a_snapshot_is_the_whole_state_at_its_position() {
    let mut member = Member::new();
    let membership = Payload::Membership(Bytes::from_static(b"three"));
    member.machine.apply(&[LogEntry { term: 3, index: 1, payload: membership }]);
    for n in 0..3000 {
        member.put(&format!("key{n}"), &"x".repeat(200));
    }
    member.compact(1000).unwrap();
    let mut reader = member.machine.snapshot().unwrap();
    let applied = reader.applied().clone();
    member.put("later", "");
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let rocks = Arc::new(RocksDb::open(folder.path(), RocksOptions::default()).unwrap());
    for machine in [install_into(rocks, &bytes), install_into(Arc::new(SortedMap::new()), &bytes)] {
        assert_eq!(machine.applied(), applied);
        assert_eq!(machine.applied().membership.as_deref(), Some(&b"three"[..]));
        assert_eq!(machine.flushed(), applied.index);
        assert_eq!(machine.view().revision(), 3001);
        assert_eq!(machine.view().compacted(), 1000);
        let hash = |machine: &StateMachine| machine.view().hash_kv(3001).unwrap();
        assert_eq!(hash(&machine), hash(&member.machine));
    }
    assert_eq!(check(&mut bytes.as_slice()).unwrap(), applied);
    let mut broken = bytes.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    for (bytes, what) in [(&broken[..], "flipped"), (&bytes[..middle], "cut"), (b"other", "other")]
    {
        let mut member = Member::new();
        member.put("kept", "");
        let result: Result<_, SnapshotError> = member.machine.install(bytes);
        assert!(result.is_err(), "{what}");
        assert!(check(&mut &bytes[..]).is_err(), "{what}");
        assert_eq!(member.keys("a", "z", 0).0, ["kept="], "{what}: the old state stays");
    }
}
