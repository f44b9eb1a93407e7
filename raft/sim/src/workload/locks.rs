//! Locks and elections: by the queue that etcd's clients use, and by creating a key; both on a lease,
//! both with a fencing token.

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::Op;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use rand::Rng;

use super::leases::{Alive, grant, renew, revoke};
use super::{Client, Fate, put, request};
use crate::outcome::{Outcome, Part};

const QUEUE: &str = "q/";
const QUEUE_END: &str = "q0";
const ELECTION: &str = "e";

pub(super) async fn run(mut client: Client) {
    while client.pause(1200).await {
        let ttl = client.random.random_range(1..3);
        let Some(lease) = grant(&mut client, ttl).await else { continue };
        let lock = if client.place == 0 || client.random.random() { ELECTION } else { QUEUE };
        let held = match lock {
            ELECTION => campaign(&mut client, lease).await,
            _ => queue(&mut client, lease).await,
        };
        if let Some(token) = held {
            let (monitor, number) = (client.shared.cluster.monitor.clone(), client.number);
            monitor.acquired(lock, number, lease, token);
            for _ in 0..client.random.random_range(1..8) {
                if !client.pause(900).await || renew(&mut client, lease).await == Alive::No {
                    break;
                }
            }
            monitor.releases(lock, number);
        }
        // Whoever dies gives nothing back.
        if client.random.random_range(0..4) > 0 {
            revoke(&mut client, lease).await;
        }
    }
}

fn created_is(key: &str, wanted: i64) -> pb::Compare {
    pb::Compare {
        key: Bytes::copy_from_slice(key.as_bytes()),
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        target_union: Some(TargetUnion::CreateRevision(wanted)),
        ..Default::default()
    }
}

/// Creates the key; the token, if it is created.
async fn campaign(client: &mut Client, lease: i64) -> Option<i64> {
    for _ in 0..client.random.random_range(1..12) {
        let range = pb::RangeRequest { key: ELECTION.into(), ..Default::default() };
        let mine = put(ELECTION, lease.to_string(), lease);
        let txn = pb::TxnRequest {
            compare: vec![created_is(ELECTION, 0)],
            success: vec![request(Request::RequestPut(mine))],
            failure: vec![request(Request::RequestRange(range))],
        };
        match client.propose(Op::Txn(txn)).await {
            Fate::Is(Outcome::Txn(at, true, _)) => return Some(at),
            // Created by a request of its own whose answer was lost.
            Fate::Is(Outcome::Txn(_, false, parts)) => {
                if let Some(Part::Range(found)) = parts.first()
                    && let Some(own) = found.iter().find(|one| one.lease == lease)
                {
                    return Some(own.created);
                }
            }
            Fate::Is(_) => return None,
            Fate::Refused | Fate::Unknown => {}
        }
        if renew(client, lease).await == Alive::No || !client.pause(600).await {
            return None;
        }
    }
    None
}

/// Takes a place in the queue, and waits until it is the first; the token.
async fn queue(client: &mut Client, lease: i64) -> Option<i64> {
    let own = format!("{QUEUE}{lease:016x}");
    let txn = pb::TxnRequest {
        compare: vec![created_is(&own, 0)],
        success: vec![request(Request::RequestPut(put(own.clone(), "", lease)))],
        failure: Vec::new(),
    };
    match client.propose(Op::Txn(txn)).await {
        Fate::Refused | Fate::Is(Outcome::Refused(_)) => return None,
        Fate::Is(_) | Fate::Unknown => {}
    }
    for _ in 0..client.random.random_range(1..20) {
        let waiting = client.range(QUEUE.into(), QUEUE_END.into(), 0, false).await;
        if let Some((_, waiting)) = waiting {
            let first = waiting.iter().min_by_key(|one| one.created)?;
            if first.lease == lease {
                return Some(first.created);
            }
        }
        if renew(client, lease).await == Alive::No || !client.pause(500).await {
            return None;
        }
    }
    None
}
