//! Keys, revisions, transactions, compaction and hashes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use keelson_storage::command::{ApplyError, Op, Reply};
use keelson_storage::mvcc::ReadError;
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request;
use pb::response_op::Response;
use proptest::prelude::*;
use prost::Message as _;

use crate::cluster::{Member, delete, op, put, range, shown, version_is};

// upstream: etcd v3 API, "Range"
#[test]
fn a_key_knows_its_revisions() {
    let mut member = Member::new();
    assert_eq!(member.machine.view().revision(), 1);
    assert_eq!(member.put("a", "1"), 2);
    assert_eq!(member.put("b", "1"), 3);
    assert_eq!(member.put("a", "2"), 4);
    assert_eq!(member.delete("b", ""), (5, 1));
    assert_eq!(member.delete("b", ""), (5, 0), "nothing deleted, no revision");
    assert_eq!(member.put("b", "2"), 6);
    let kv = member.machine.view().range(&range("a", "")).unwrap().kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 4, 2));
    let kv = member.machine.view().range(&range("b", "")).unwrap().kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (6, 6, 1));
    assert_eq!(member.keys("a", "z", 0).0, ["a=2", "b=2"]);
    assert_eq!(member.keys("a", "z", 5).0, ["a=2"]);
    assert_eq!(member.keys("a", "z", 3).0, ["a=1", "b=1"]);
    assert_eq!(member.keys("\0", "\0", 2).0, ["a=1"]);
    let future = pb::RangeRequest { revision: 7, ..range("a", "") };
    assert!(matches!(
        member.machine.view().range(&future),
        Err(ReadError::FutureRevision { wanted: 7, current: 6 })
    ));
}

// upstream: etcd v3 API, "Range": count, limit, order and filters
#[test]
fn ranges_are_ordered_filtered_and_cut() {
    let mut member = Member::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("d", "1")] {
        member.put(key, value);
    }
    let ask = |request: &pb::RangeRequest| {
        let response = member.machine.view().range(request).unwrap();
        (shown(&response), response.count, response.more)
    };
    let base = range("a", "z");
    for revision in [0, 5] {
        let base = pb::RangeRequest { revision, ..base.clone() };
        let request = pb::RangeRequest { limit: 2, ..base.clone() };
        assert_eq!(ask(&request), (vec!["a=3".into(), "b=1".into()], 4, true));
        let request = pb::RangeRequest { limit: 4, ..base.clone() };
        assert!(!ask(&request).2);
        let request = pb::RangeRequest { count_only: true, limit: 1, ..base.clone() };
        assert_eq!(ask(&request), (vec![], 4, false));
        let request = pb::RangeRequest { sort_target: SortTarget::Value as i32, ..base.clone() };
        assert_eq!(ask(&request).0, ["b=1", "d=1", "c=2", "a=3"], "no order is ascending, stable");
        let request =
            pb::RangeRequest { sort_order: SortOrder::Descend as i32, limit: 1, ..base.clone() };
        assert_eq!(ask(&request), (vec!["d=1".into()], 4, true));
        let request = pb::RangeRequest { min_mod_revision: 3, max_mod_revision: 4, ..base.clone() };
        assert_eq!(ask(&request), (vec!["b=1".into(), "c=2".into()], 4, false));
        let request = pb::RangeRequest { keys_only: true, ..base };
        assert_eq!(ask(&request).0, ["a=", "b=", "c=", "d="]);
    }
    assert_eq!(ask(&range("z", "a")), (vec![], 0, false), "an empty range is no error");
}

#[test]
fn parts_of_a_range_are_together_the_range() {
    let mut member = Member::new();
    for key in ["a", "b", "c", "d", "e"] {
        member.put(key, "1");
    }
    member.delete("b", "");
    member.put("c", "2");
    let at = member.machine.view().revision();
    // What comes later is none of it, whichever key it changes.
    member.put("b", "3");
    member.put("d", "3");
    member.delete("e", "");
    member.put("f", "3");
    let view = member.machine.view();
    let whole = pb::RangeRequest { revision: at, ..range("a", "z") };
    let whole = shown(&view.range(&whole).unwrap());
    assert_eq!(whole, ["a=1", "c=2", "d=1", "e=1"]);
    for limit in 1..6 {
        let (mut key, mut together) = ("a".to_owned(), Vec::new());
        loop {
            let request = pb::RangeRequest { revision: at, limit, ..range(&key, "z") };
            let part = view.part(&request).unwrap();
            let left = whole.len() - together.len();
            assert_eq!(part.kvs.len(), left.min(limit as usize), "of {limit} at a time");
            assert_eq!(part.more, left > limit as usize, "of {limit} at a time");
            together.extend(shown(&part));
            let Some(last) = part.kvs.last().filter(|_| part.more) else { break };
            key = format!("{}\0", String::from_utf8_lossy(&last.key));
        }
        assert_eq!(together, whole);
    }
    let past = pb::RangeRequest { revision: at + 5, limit: 1, ..range("a", "z") };
    assert!(matches!(view.part(&past), Err(ReadError::FutureRevision { .. })));
}

// upstream: etcd v3 API, "Put": ignore flags and leases
#[test]
fn a_put_may_keep_what_is_there() {
    let mut member = Member::new();
    let keep = pb::PutRequest { ignore_value: true, ..put("a", "") };
    assert_eq!(member.apply(Op::Put(keep.clone())), Err(ApplyError::KeyNotFound));
    let leased = pb::PutRequest { lease: 7, ..put("a", "1") };
    assert_eq!(member.apply(Op::Put(leased.clone())), Err(ApplyError::LeaseNotFound));
    assert_eq!(member.machine.view().revision(), 1);
    member.apply(Op::LeaseGrant(pb::LeaseGrantRequest { id: 7, ttl: 60 })).unwrap();
    member.apply(Op::Put(leased)).unwrap();
    let renew = pb::PutRequest { ignore_lease: true, prev_kv: true, ..put("a", "2") };
    let Ok(Reply::Put(response)) = member.apply(Op::Put(renew)) else { panic!("put") };
    assert_eq!(response.prev_kv.unwrap().value, "1");
    let kv = member.machine.view().range(&range("a", "")).unwrap().kvs.remove(0);
    assert_eq!((kv.lease, &kv.value[..]), (7, &b"2"[..]));
    member.apply(Op::Put(keep)).unwrap();
    let kv = member.machine.view().range(&range("a", "")).unwrap().kvs.remove(0);
    assert_eq!((kv.lease, &kv.value[..], kv.version), (0, &b"2"[..], 3), "lease 0 detaches");
    assert!(member.machine.view().lease_keys(7).unwrap().is_empty());
}

// upstream: etcd v3 API, "Txn"
#[test]
fn a_transaction_is_one_revision() {
    let mut member = Member::new();
    member.put("a", "1");
    let nested = pb::TxnRequest {
        // Compares see the state before, not the put of "b" beside it.
        compare: vec![version_is("b", 0)],
        success: vec![op(Request::RequestPut(put("c", "1")))],
        ..Default::default()
    };
    let request = pb::TxnRequest {
        compare: vec![version_is("a", 1)],
        success: vec![
            op(Request::RequestPut(put("b", "1"))),
            op(Request::RequestRange(range("a", "z"))),
            op(Request::RequestTxn(nested)),
            op(Request::RequestDeleteRange(delete("a", ""))),
        ],
        failure: vec![],
    };
    let response = member.txn(request).unwrap();
    assert!(response.succeeded);
    assert_eq!(response.header.unwrap().revision, 3);
    let responses: Vec<Response> =
        response.responses.into_iter().map(|r| r.response.unwrap()).collect();
    let Response::ResponseRange(seen) = &responses[1] else { panic!("range") };
    assert_eq!(shown(seen), ["a=1", "b=1"], "it sees its own writes");
    let Response::ResponseTxn(nested) = &responses[2] else { panic!("txn") };
    assert!(nested.succeeded);
    assert_eq!(nested.header.unwrap().revision, 0);
    let kvs = member.machine.view().range(&range("a", "z")).unwrap().kvs;
    assert!(kvs.iter().all(|kv| kv.mod_revision == 3 && kv.create_revision == 3));
    assert_eq!(member.keys("a", "z", 0).0, ["b=1", "c=1"]);
    assert_eq!(member.keys("a", "z", 2).0, ["a=1"]);
}

#[test]
fn a_transaction_that_would_fail_halfway_writes_nothing() {
    let mut member = Member::new();
    member.put("a", "1");
    member.put("a", "2");
    member.compact(2).unwrap();
    let old = pb::RangeRequest { revision: 1, ..range("a", "") };
    let future = pb::RangeRequest { revision: 4, ..range("a", "") };
    let lease = pb::PutRequest { lease: 9, ..put("c", "") };
    for (failing, error) in [
        (Request::RequestRange(old), ApplyError::Compacted { wanted: 1, oldest: 2 }),
        (Request::RequestRange(future), ApplyError::FutureRevision { wanted: 4, current: 3 }),
        (Request::RequestPut(lease), ApplyError::LeaseNotFound),
    ] {
        let success = vec![op(Request::RequestPut(put("b", "1"))), op(failing)];
        let request = pb::TxnRequest { success, ..Default::default() };
        assert_eq!(member.txn(request), Err(error));
    }
    assert_eq!(member.keys("a", "z", 0).0, ["a=2"]);
    assert_eq!(member.machine.view().revision(), 3);
}

// upstream: etcd v3 API, "Compare": missing keys and ranges
#[test]
fn compares_of_what_is_not_there() {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let mut member = Member::new();
    member.put("a1", "x");
    member.put("a2", "y");
    let compare = |key: &'static str, end: &'static str, target, result, union| pb::Compare {
        result: result as i32,
        target: target as i32,
        key: key.into(),
        target_union: Some(union),
        range_end: end.into(),
    };
    let value = |value: &'static str| TargetUnion::Value(value.into());
    let (equal, greater) = (CompareResult::Equal, CompareResult::Greater);
    for (compare, holds) in [
        (compare("no", "", CompareTarget::Value, equal, value("")), false),
        (compare("no", "", CompareTarget::Mod, equal, TargetUnion::ModRevision(0)), true),
        (compare("no", "np", CompareTarget::Version, equal, TargetUnion::Version(0)), true),
        (compare("a", "b", CompareTarget::Version, equal, TargetUnion::Version(1)), true),
        (compare("a", "b", CompareTarget::Value, equal, value("x")), false),
        (compare("a", "b", CompareTarget::Create, greater, TargetUnion::CreateRevision(2)), false),
        (compare("a", "b", CompareTarget::Lease, equal, TargetUnion::Lease(0)), true),
    ] {
        let request = pb::TxnRequest { compare: vec![compare.clone()], ..Default::default() };
        assert_eq!(member.txn(request).unwrap().succeeded, holds, "{compare:?}");
    }
}

// upstream: etcd v3 API, "Compact"
#[test]
fn compaction_keeps_what_is_newest_then() {
    let mut member = Member::new();
    assert_eq!(member.compact(2), Err(ApplyError::FutureRevision { wanted: 2, current: 1 }));
    assert_eq!(member.compact(0), Ok(()), "0 on a store that was never compacted");
    member.put("a", "1"); // 2
    member.put("a", "2"); // 3
    member.put("b", "1"); // 4
    member.delete("b", ""); // 5
    member.put("c", "1"); // 6
    member.delete("c", ""); // 7
    member.put("a", "3"); // 8
    let size = member.machine.view().size();
    assert_eq!(member.compact(7), Ok(()));
    assert_eq!(member.compact(7), Err(ApplyError::Compacted { wanted: 7, oldest: 7 }));
    for carried_out in [false, true] {
        assert_eq!(member.keys("a", "z", 0).0, ["a=3"]);
        assert_eq!(member.keys("a", "z", 7).0, ["a=2"], "at the compacted revision it is served");
        let old = pb::RangeRequest { revision: 6, ..range("a", "") };
        assert!(matches!(
            member.machine.view().range(&old),
            Err(ReadError::Compacted { wanted: 6, oldest: 7 })
        ));
        if !carried_out {
            member.carry_out_compaction();
        }
    }
    assert!(member.machine.view().size() < size);
    assert_eq!(*member.machine.view().compaction_done().borrow(), 7);
    assert_eq!(member.put("d", ""), 9, "revisions go on");
}

/// A few keys, any order: the three views agree with a plain model at every revision, before and
/// after compaction, in one batch or many, and hashes agree too.
#[derive(Debug, Clone)]
enum Write {
    Put(u8),
    Delete(u8, u8),
    Two(u8, u8),
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        (0u8..6).prop_map(Write::Put),
        (0u8..6, 0u8..7).prop_map(|(a, b)| Write::Delete(a, b)),
        (0u8..3, 3u8..6).prop_map(|(a, b)| Write::Two(a, b)),
    ]
}

fn name(key: u8) -> String {
    format!("k{key}")
}

fn as_op(write: &Write) -> Op {
    match write {
        Write::Put(key) => Op::Put(put(&name(*key), "v")),
        Write::Delete(from, to) => Op::DeleteRange(delete(&name(*from), &name(*to))),
        Write::Two(put_key, delete_key) => Op::Txn(pb::TxnRequest {
            success: vec![
                op(Request::RequestPut(put(&name(*put_key), "v"))),
                op(Request::RequestDeleteRange(delete(&name(*delete_key), ""))),
            ],
            ..Default::default()
        }),
    }
}

type Model = BTreeMap<String, (i64, i64, i64)>;

fn model(state: &Model, write: &Write, revision: i64) -> Option<Model> {
    let mut next = state.clone();
    let set = |next: &mut Model, key: u8| {
        let (create, _, version) = *state.get(&name(key)).unwrap_or(&(revision, 0, 0));
        next.insert(name(key), (create, revision, version + 1));
    };
    match write {
        Write::Put(key) => set(&mut next, *key),
        Write::Delete(from, to) => {
            next.retain(|key, _| !(*key >= name(*from) && *key < name(*to)));
        }
        Write::Two(put_key, delete_key) => {
            set(&mut next, *put_key);
            next.remove(&name(*delete_key));
        }
    }
    (next != *state).then_some(next)
}

fn read(member: &Member, revision: i64) -> Model {
    let request = pb::RangeRequest { revision, ..range("k", "l") };
    let response = member.machine.view().range(&request).unwrap();
    assert_eq!(response.count, response.kvs.len() as i64);
    let entry = |kv: keelson_proto::mvccpb::KeyValue| {
        let key = String::from_utf8(kv.key.to_vec()).unwrap();
        (key, (kv.create_revision, kv.mod_revision, kv.version))
    };
    response.kvs.into_iter().map(entry).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn history_agrees_with_a_plain_model(
        writes in proptest::collection::vec(write(), 1..40),
        compact in 0.0f64..1.0,
    ) {
        let mut one_by_one = Member::new();
        let mut at_once = Member::new();
        let mut states = vec![Model::new(), Model::new()];
        for write in &writes {
            let revision = states.len() as i64;
            one_by_one.apply(as_op(write)).unwrap();
            states.extend(model(&states[states.len() - 1], write, revision));
            prop_assert_eq!(one_by_one.machine.view().revision(), states.len() as i64 - 1);
        }
        at_once.apply_all(writes.iter().map(as_op).collect());
        let last = states.len() as i64 - 1;
        let compacted = 1 + (compact * (last - 1) as f64) as i64;
        let hash = |member: &Member, at| member.machine.view().hash_kv(at).unwrap();
        prop_assert_eq!(hash(&one_by_one, 0), hash(&at_once, 0));
        for member in [&mut one_by_one, &mut at_once] {
            for (revision, state) in states.iter().enumerate().skip(1) {
                prop_assert_eq!(&read(member, revision as i64), state);
            }
            prop_assert_eq!(&read(member, 0), &states[last as usize]);
            member.compact(compacted).unwrap();
        }
        at_once.carry_out_compaction();
        for member in [&one_by_one, &at_once] {
            for revision in compacted..=last {
                prop_assert_eq!(&read(member, revision), &states[revision as usize]);
                prop_assert_eq!(
                    hash(&one_by_one, revision), hash(&at_once, revision),
                    "a hash does not tell whether the compaction is carried out"
                );
            }
        }
    }
}

#[test]
fn a_scan_is_of_one_moment_whatever_is_written_meanwhile() {
    let mut member = Member::new();
    for key in ["a", "b", "c", "e"] {
        member.put(key, "old");
    }
    let (view, mut seen) = (member.machine.view(), Vec::new());
    let scanned = view.scan(b"a", b"\0", &mut |at, key, kv| {
        seen.push((at, String::from_utf8(key.to_vec()).unwrap()));
        assert!(KeyValue::decode(kv).unwrap().value == "old");
        member.put("b", "new");
        member.put("d", "new");
        member.delete("c", "");
        if key == b"c" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(scanned.unwrap(), Some(5));
    assert_eq!(seen, ["a", "b", "c"].map(|key| (5, key.to_owned())));
    let mut none = |_, _: &[u8], _: &[u8]| panic!("nothing is there");
    assert_eq!(view.scan(b"x", b"y", &mut none).unwrap(), Some(view.revision()));
}
