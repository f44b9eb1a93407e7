//! The correctness bugs that etcd's robustness tests have found in etcd, each as a promise of ours.
//! A single member's lost write and members that differ after a crash under load need consensus:
//! they stand in the simulator's tests.
// upstream: etcd tests/robustness, "Known issues"

use std::sync::Arc;

use keelson_proto::etcdserverpb as pb;
use keelson_storage::auth::AuthState;
use keelson_storage::command::{ApplyError, AuthChange, AuthOp, Op};
use keelson_storage::engine::SortedMap;
use keelson_storage::entry::LogEntry;
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::watch::WatchSpec;
use pb::request_op::Request;
use pb::response_op::Response;

use crate::cluster::{Member, delete, op, put, range, shown, version_is};
use crate::watches::{drain, spec};

/// A log of writes, deletions, transactions and compactions.
fn log(entries: u64) -> Vec<Op> {
    let key = |n: u64| format!("key{}", n * 7 % 13);
    (0..entries)
        .map(|n| match n % 9 {
            3 => Op::DeleteRange(delete(&key(n), "")),
            5 => Op::Txn(pb::TxnRequest {
                compare: vec![version_is(&key(n), 1)],
                success: vec![op(Request::RequestDeleteRange(delete("key1", "key5")))],
                failure: vec![op(Request::RequestPut(put(&key(n + 1), "other")))],
            }),
            8 if n > 20 => {
                Op::Compaction(pb::CompactionRequest { revision: n as i64 / 2, physical: false })
            }
            _ => Op::Put(put(&key(n), &n.to_string())),
        })
        .collect()
}

fn replay(member: &mut Member, log: &[LogEntry]) {
    let from = usize::try_from(member.machine.applied().index).unwrap();
    member.machine.apply(&log[from..]);
}

/// The whole of a log as entries, and a member that applied it undisturbed.
fn undisturbed(entries: u64) -> (Vec<LogEntry>, Member) {
    let mut member = Member::new();
    let mut whole = Vec::new();
    for op in log(entries) {
        let entry = member.entry(op);
        member.machine.apply(std::slice::from_ref(&entry));
        whole.push(entry);
    }
    (whole, member)
}

fn same(one: &Member, other: &Member) {
    let (one, other) = (one.machine.view(), other.machine.view());
    assert_eq!(one.revision(), other.revision());
    assert_eq!(one.compacted(), other.compacted());
    assert_eq!(one.hash_kv(0).unwrap(), other.hash_kv(0).unwrap());
}

// Issue 13766: a crash under load left revision and data of different moments.
#[test]
fn a_crash_under_load_leaves_revision_and_data_of_one_moment() {
    let (whole, expected) = undisturbed(200);
    for crash_every in [1, 3, 17, 64] {
        let mut member = Member::new();
        for (number, batch) in whole.chunks(5).enumerate() {
            member.machine.apply(batch);
            if number % 4 == 1 {
                member.machine.flush();
            }
            if number % crash_every == crash_every - 1 {
                member.engine.crash();
                member = Member::on(member.engine);
                replay(&mut member, &whole[..(number + 1) * 5]);
            }
        }
        same(&member, &expected);
    }
}

// Issue 14571: the auth revision was lost by a restart, and requests were judged by an old one.
#[test]
fn the_auth_revision_survives_restarts_and_snapshots() {
    let mut member = Member::new();
    for name in ["one", "two", "three"] {
        let add = AuthOp::RoleAdd(pb::AuthRoleAddRequest { name: name.to_owned() });
        member.apply(Op::AuthChange(AuthChange { change: Some(add) })).unwrap();
    }
    let auth: Arc<AuthState> = member.machine.view().auth();
    assert_eq!(auth.revision(), 4);
    let snapshot = member.machine.snapshot().unwrap();
    let mut other = Member::new();
    other.machine.install(snapshot).unwrap();
    assert_eq!(other.machine.view().auth().revision(), 4);
    member.machine.flush();
    let member = Member::on(member.engine);
    assert_eq!(member.machine.view().auth().revision(), 4);
}

// Issue 14685: a crash while space was given back left a store that could not be opened.
#[test]
fn a_crash_while_space_is_given_back_leaves_the_store_whole() {
    let (whole, expected) = undisturbed(200);
    expected.carry_out_compaction();
    for steps in 0..6 {
        let mut member = Member::new();
        member.machine.apply(&whole);
        for _ in 0..steps {
            member.machine.compactor().step().unwrap();
        }
        if steps % 2 == 0 {
            member.machine.flush();
        }
        member.engine.crash();
        let mut member = Member::on(member.engine);
        replay(&mut member, &whole);
        member.carry_out_compaction();
        same(&member, &expected);
        assert_eq!(member.machine.view().size(), expected.machine.view().size());
    }
}

// Issue 15220: a progress answer overtook events of a watcher that had not caught up.
#[test]
fn progress_waits_for_a_watcher_that_has_not_caught_up() {
    // A little behind, and so far that the hub does not know the watcher yet.
    for puts in [50, 3000] {
        let mut member = Member::new();
        for n in 0..puts {
            member.put("a", &n.to_string());
        }
        let mut stream = member.machine.hub().stream();
        stream.create(spec("b", "", 0), 0).unwrap();
        stream.create(spec("a", "", 2), 0).unwrap();
        stream.request_progress();
        let said = drain(&mut stream);
        assert_eq!(said.iter().filter(|line| line.starts_with("1: ")).count(), puts);
        let progress = said.iter().position(|line| line.contains(" at "));
        assert!(progress.is_none_or(|progress| progress == puts), "{progress:?}");
    }
}

// Issue 15271: a member behind a partition told its watchers the past once more.
#[test]
fn a_watch_goes_on_where_it_was_when_a_snapshot_is_installed() {
    let mut ahead = Member::new();
    let mut behind = Member::new();
    for n in 0..5 {
        ahead.put("a", &n.to_string());
        behind.put("a", &n.to_string());
    }
    let mut stream = behind.machine.hub().stream();
    stream.create(spec("a", "", 2), 0).unwrap();
    assert_eq!(drain(&mut stream).len(), 5);
    for n in 5..8 {
        ahead.put("a", &n.to_string());
    }
    behind.machine.install(ahead.machine.snapshot().unwrap()).unwrap();
    assert_eq!(drain(&mut stream), ["0: 7 +a=5<4", "0: 8 +a=6<5", "0: 9 +a=7<6"]);
    behind.machine.install(ahead.machine.snapshot().unwrap()).unwrap();
    assert!(drain(&mut stream).is_empty());
}

// A read in a transaction was answered from a buffer that lacked what had just been written.
#[test]
fn a_read_in_a_transaction_sees_what_was_written_before_it() {
    let mut member = Member::new();
    let read_after = |n: i64| {
        Op::Txn(pb::TxnRequest {
            success: vec![
                op(Request::RequestRange(range("a", ""))),
                op(Request::RequestPut(put("a", &n.to_string()))),
                op(Request::RequestRange(range("a", ""))),
            ],
            ..Default::default()
        })
    };
    let results = member.apply_all((1..20).map(read_after).collect());
    for (n, result) in (1..).zip(results) {
        let Ok(keelson_storage::command::Reply::Txn(answer)) = result else { panic!() };
        let read = |at: usize| match &answer.responses[at].response {
            Some(Response::ResponseRange(range)) => shown(range),
            other => panic!("{other:?}"),
        };
        let before: Vec<String> = (n > 1).then(|| format!("a={}", n - 1)).into_iter().collect();
        assert_eq!((read(0), read(2)), (before, vec![format!("a={n}")]));
    }
}

// Issue 15247 and others: slow watchers starved each other, and all that shared a stream.
#[test]
fn no_watcher_starves_beside_many_that_are_far_behind() {
    let mut member = Member::new();
    for n in 0..300 {
        member.put(&format!("k{}", n % 3), &n.to_string());
    }
    let mut stream = member.machine.hub().stream();
    for _ in 0..100 {
        stream.create(spec("k", "l", 2), 0).unwrap();
    }
    let mut now = member.machine.hub().stream();
    now.create(spec("k0", "", 0), 0).unwrap();
    for _ in 0..30 {
        member.put("k0", "live");
        assert_eq!(drain(&mut now).len(), 1, "one that is up to date hears at once");
    }
    let said = drain(&mut stream);
    for id in 0..100 {
        let prefix = format!("{id}: ");
        assert_eq!(said.iter().filter(|line| line.starts_with(&prefix)).count(), 330);
    }
}

// Issue 17780: a crash in the middle of a compaction made the revision go back.
#[test]
fn the_revision_does_not_go_back_when_a_compaction_is_broken_off() {
    for steps in 0..6 {
        let mut member = Member::new();
        for n in 0..40 {
            member.put("a", &n.to_string());
        }
        member.delete("a", "");
        let revision = member.machine.view().revision();
        member.compact(revision).unwrap();
        member.machine.flush();
        for _ in 0..steps {
            member.machine.compactor().step().unwrap();
        }
        member.machine.flush();
        member.engine.crash();
        let mut member = Member::on(member.engine);
        assert_eq!(member.machine.view().revision(), revision, "after {steps} steps");
        assert_eq!(member.put("a", "again"), revision + 1);
        member.carry_out_compaction();
        assert_eq!(member.machine.view().revision(), revision + 1);
    }
}

// Issue 19179: a deletion was lost for a watch from the very revision that was compacted.
#[test]
fn a_deletion_at_the_compacted_revision_is_still_told() {
    let mut member = Member::new();
    member.put("a", "1"); // 2
    member.delete("a", ""); // 3
    member.put("b", "1"); // 4
    member.compact(3).unwrap();
    for carried_out in [false, true] {
        let mut stream = member.machine.hub().stream();
        let from = WatchSpec { prev_kv: false, ..spec("a", "c", 3) };
        stream.create(from, 0).unwrap();
        assert_eq!(drain(&mut stream), ["0: 3 -a=", "0: 4 +b=1"], "{carried_out}");
        member.carry_out_compaction();
    }
}

// Issue 18089: members hashed differently while one of them still had what others had dropped.
#[test]
fn compacted_deletions_hash_alike_however_far_compaction_is() {
    let (whole, expected) = undisturbed(200);
    expected.carry_out_compaction();
    for steps in 0..6 {
        let mut member = Member::new();
        member.machine.apply(&whole);
        for _ in 0..steps {
            member.machine.compactor().step().unwrap();
        }
        same(&member, &expected);
    }
}

// A range at a compacted revision inside a transaction stopped the member.
#[test]
fn a_compacted_read_in_a_transaction_refuses_the_whole_of_it() {
    let mut member = Member::new();
    for n in 0..5 {
        member.put("a", &n.to_string());
    }
    member.compact(4).unwrap();
    let at = |revision| pb::TxnRequest {
        success: vec![
            op(Request::RequestPut(put("a", "never"))),
            op(Request::RequestRange(pb::RangeRequest { revision, ..range("a", "") })),
        ],
        ..Default::default()
    };
    assert_eq!(member.txn(at(3)), Err(ApplyError::Compacted { wanted: 3, oldest: 4 }));
    let future = ApplyError::FutureRevision { wanted: 9, current: 6 };
    assert_eq!(member.txn(at(9)), Err(future));
    assert_eq!(member.machine.view().revision(), 6);
    assert!(member.txn(at(4)).is_ok());
}

// Issue 20221: a watch from a future revision was told what lay before it.
#[test]
fn a_watch_from_the_future_hears_nothing_of_the_past() {
    let mut member = Member::new();
    member.put("a", "1"); // 2
    let mut stream = member.machine.hub().stream();
    stream.create(WatchSpec { progress_notify: true, ..spec("a", "", 5) }, 0).unwrap();
    for n in 2..4 {
        member.put("a", &n.to_string()); // 3, 4
        stream.request_progress();
        stream.tick();
        assert!(drain(&mut stream).is_empty());
    }
    let engine = Arc::new(SortedMap::new());
    let mut other =
        StateMachine::open(engine, Options { compaction_thread: false, ..Options::default() })
            .unwrap();
    other.install(member.machine.snapshot().unwrap()).unwrap();
    let mut moved = other.hub().stream();
    moved.create(spec("a", "", 5), 0).unwrap();
    assert!(drain(&mut moved).is_empty());
    member.put("a", "4");
    assert_eq!(drain(&mut stream), ["0: 5 +a=4<3"]);
}
