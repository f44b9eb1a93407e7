//! Leases: granted, attached to keys, renewed for a while, and then revoked or left to end.

use std::time::Duration;

use keelson_proto::etcdserverpb as pb;
use keelson_raft::LeaseError;
use keelson_storage::command::{LeaseRevoke, Op};
use rand::Rng;

use super::{Client, Fate, is_lease_gone, put};
use crate::outcome::Outcome;

/// What became of a lease.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alive {
    Yes,
    No,
    Unknown,
}

/// Grants a lease of so many seconds; its id.
pub(super) async fn grant(client: &mut Client, ttl: i64) -> Option<i64> {
    let id = client.random.random_range(1..i64::MAX);
    let asked = client.shared.cluster.control.now();
    let grant = pb::LeaseGrantRequest { id, ttl };
    match client.propose(Op::LeaseGrant(grant)).await {
        Fate::Is(Outcome::Grant(..)) => {
            client.shared.cluster.monitor.renewed(id, asked, seconds(ttl));
            Some(id)
        }
        _ => None,
    }
}

/// Renews a lease.
pub(super) async fn renew(client: &mut Client, id: i64) -> Alive {
    let cluster = client.shared.cluster.clone();
    let asked = cluster.control.now();
    let answer = client.call(move |node| async move { node.renew_lease(id).await }).await;
    cluster.story.trace(|| format!("client {} renews {id}: {answer:?}", client.number));
    match answer {
        Some(Ok(ttl)) => {
            cluster.monitor.renewed(id, asked, seconds(ttl));
            Alive::Yes
        }
        Some(Err(LeaseError::NotFound)) => Alive::No,
        Some(Err(_)) | None => {
            client.leave();
            Alive::Unknown
        }
    }
}

/// Ends a lease; whether it is known to be gone.
pub(super) async fn revoke(client: &mut Client, id: i64) -> bool {
    let revoke = LeaseRevoke { ids: vec![id], expired: false, leader_term: 0 };
    match client.propose(Op::LeaseRevoke(revoke)).await {
        Fate::Is(outcome) => is_lease_gone(&outcome) || matches!(outcome, Outcome::Revoke(_)),
        Fate::Refused | Fate::Unknown => false,
    }
}

pub(super) async fn run(mut client: Client) {
    while client.pause(300).await {
        let ttl = client.random.random_range(1..4);
        let Some(id) = grant(&mut client, ttl).await else { continue };
        for number in 0..client.random.random_range(0..3) {
            let key = format!("l/{number}");
            client.propose(Op::Put(put(key, id.to_string(), id))).await;
        }
        for _ in 0..client.random.random_range(0..20) {
            if !client.pause(700).await || renew(&mut client, id).await == Alive::No {
                break;
            }
        }
        match client.random.random_range(0..3) {
            0 => {
                revoke(&mut client, id).await;
                renew(&mut client, id).await;
            }
            1 => {
                client.pause(2500).await;
                renew(&mut client, id).await;
            }
            _ => {}
        }
    }
}

pub(super) fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.max(0).unsigned_abs())
}
