//! Leases as the log makes them, and alarms.

use keelson_proto::etcdserverpb as pb;
use keelson_proto::raft::{LeaseCheckpoint, LeaseCheckpoints, LeaseRevoke};
use keelson_storage::command::{ApplyError, Op};

use crate::cluster::{Member, put};

fn grant(id: i64) -> Op {
    Op::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 60 })
}

fn revoke(ids: &[i64], expired: bool) -> Op {
    Op::LeaseRevoke(LeaseRevoke { ids: ids.to_vec(), expired, leader_term: 0 })
}

// upstream: etcd v3 API, "Lease"
#[test]
fn the_end_of_a_lease_deletes_its_keys_in_one_revision() {
    let mut member = Member::new();
    for id in [1, 2, -3] {
        member.apply(grant(id)).unwrap();
    }
    assert_eq!(member.apply(grant(1)), Err(ApplyError::LeaseExists));
    for (key, lease) in [("a", 1), ("b", 1), ("c", 2), ("d", -3), ("e", -3)] {
        member.apply(Op::Put(pb::PutRequest { lease, ..put(key, "") })).unwrap();
    }
    member.apply(Op::Put(pb::PutRequest { lease: 2, ..put("b", "") })).unwrap();
    let view = member.machine.view();
    assert_eq!(view.lease_keys(1).unwrap(), ["a"]);
    assert_eq!(view.lease_keys(2).unwrap(), ["b", "c"], "another lease moves a key");
    assert_eq!(view.revision(), 7);
    member.apply(revoke(&[2], false)).unwrap();
    assert_eq!(view.revision(), 8);
    assert_eq!(member.keys("a", "z", 0).0, ["a=", "d=", "e="]);
    assert_eq!(member.apply(revoke(&[2], false)), Err(ApplyError::LeaseNotFound));
    member.apply(revoke(&[2, -3, 1], true)).unwrap();
    assert_eq!(view.revision(), 10, "each lease is a revision of its own");
    assert!(view.leases().is_empty());
    member.apply(grant(5)).unwrap();
    member.apply(revoke(&[5], false)).unwrap();
    assert_eq!(view.revision(), 10, "no key, no revision");
}

#[test]
fn leases_come_back_after_a_restart() {
    let mut member = Member::new();
    member.apply(grant(1)).unwrap();
    let checkpoint = LeaseCheckpoint { id: 1, remaining_ttl_seconds: 20 };
    let checkpoints = LeaseCheckpoints { checkpoints: vec![checkpoint], leader_term: 1 };
    member.apply(Op::LeaseCheckpoints(checkpoints)).unwrap();
    let again = Member::on(member.engine);
    assert_eq!(again.machine.view().lease(1).unwrap().remaining_ttl_seconds, 20);
}

/// It was on its way when the leader changed, and the new one may have renewed the lease.
#[test]
fn what_a_leader_says_of_a_lease_counts_only_in_its_own_entries() {
    let mut member = Member::new();
    member.apply(grant(1)).unwrap();
    let checkpoint = LeaseCheckpoint { id: 1, remaining_ttl_seconds: 20 };
    let checkpoints = LeaseCheckpoints { checkpoints: vec![checkpoint], leader_term: 7 };
    member.apply(Op::LeaseCheckpoints(checkpoints)).unwrap();
    assert_eq!(member.machine.view().lease(1).unwrap().remaining_ttl_seconds, 0);
    let end =
        |leader_term| Op::LeaseRevoke(LeaseRevoke { ids: vec![1], expired: true, leader_term });
    member.apply(end(7)).unwrap();
    assert!(member.machine.view().lease(1).is_some());
    member.apply(end(1)).unwrap();
    assert!(member.machine.view().lease(1).is_none());
}

// upstream: etcd v3 API, "Alarm"
#[test]
fn without_space_nothing_grows() {
    use pb::alarm_request::AlarmAction;
    let mut member = Member::new();
    member.put("a", "1");
    let alarm = |action: AlarmAction| {
        Op::Alarm(pb::AlarmRequest {
            action: action as i32,
            member_id: 9,
            alarm: pb::AlarmType::Nospace as i32,
        })
    };
    member.apply(alarm(AlarmAction::Activate)).unwrap();
    assert_eq!(member.apply(Op::Put(put("b", ""))), Err(ApplyError::NoSpace));
    assert_eq!(member.apply(grant(1)), Err(ApplyError::NoSpace));
    assert_eq!(member.delete("a", ""), (3, 1));
    let mut member = Member::on(member.engine);
    assert_eq!(member.apply(Op::Put(put("b", ""))), Err(ApplyError::NoSpace), "it is kept");
    member.apply(alarm(AlarmAction::Deactivate)).unwrap();
    member.put("b", "");
}
