//! Puts, deletes, ranges and transactions on a few keys, so that clients meet.

use bytes::Bytes;
use keelson_check::{Action, Operation};
use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::Op;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use rand::Rng;

use super::{Client, Fate, put, request};
use crate::outcome::{Outcome, Part};

const REGISTERS: u64 = 3;
const KEYS: u64 = 6;
const PREFIX: &str = "k/";
const PREFIX_END: &str = "k0";

pub(super) async fn run(mut client: Client) {
    let mut number = 0_u64;
    let mut known = 0;
    while client.pause(330).await {
        number += 1;
        // Some are longer than a sector, so that a crash can tear them.
        let length = match client.random.random_range(0..6) {
            0 => client.random.random_range(0..2000),
            _ => 0,
        };
        let value = format!("{}.{number}{:x>length$}", client.number, "");
        match client.random.random_range(0..20) {
            0..7 => register(&mut client, value).await,
            7..9 => {
                let key = any(&mut client);
                client.propose(Op::Put(put(key, value, 0))).await;
            }
            9 => {
                let (key, range_end) = (Bytes::from_static(b"k/1"), Bytes::from_static(b"k/4"));
                let delete = pb::DeleteRangeRequest { key, range_end, ..Default::default() };
                client.propose(Op::DeleteRange(delete)).await;
            }
            10..13 => both(&mut client, value).await,
            13..16 => swap(&mut client, value).await,
            16 => {
                client.range(PREFIX.into(), PREFIX_END.into(), 0, true).await;
            }
            17 if known > 1 => {
                let at = known - client.random.random_range(0..known.min(20));
                client.range(PREFIX.into(), PREFIX_END.into(), at, true).await;
            }
            _ => {
                let found = client.range(PREFIX.into(), PREFIX_END.into(), 0, false).await;
                known = found.map_or(known, |(at, _)| at);
            }
        }
    }
}

fn any(client: &mut Client) -> String {
    format!("{PREFIX}{}", client.random.random_range(0..KEYS))
}

/// Reads, writes or deletes a key that nothing else touches.
async fn register(client: &mut Client, value: String) {
    let key = format!("r/{}", client.random.random_range(0..REGISTERS));
    let called = client.tick();
    let (action, done) = match client.random.random_range(0..7) {
        0..3 => {
            let fate = client.propose(Op::Put(put(key.clone(), value.clone(), 0))).await;
            (Action::Write(value), fate)
        }
        3 => {
            let delete = pb::DeleteRangeRequest { key: key.clone().into(), ..Default::default() };
            (Action::Delete, client.propose(Op::DeleteRange(delete)).await)
        }
        _ => {
            let found = client.range(key.clone().into(), Bytes::new(), 0, false).await;
            let Some((at, found)) = found else { return };
            let value = found.first().map(|one| String::from_utf8_lossy(&one.value).into_owned());
            (Action::Read(value), Fate::Is(Outcome::Done(at)))
        }
    };
    let returned = match done {
        Fate::Is(_) => Some(client.tick()),
        Fate::Refused => return,
        Fate::Unknown => None,
    };
    client.record(Operation { client: client.number, key, action, called, returned });
}

/// Changes several keys at once: readers and watchers must see all of it or nothing.
async fn both(client: &mut Client, value: String) {
    let delete = pb::DeleteRangeRequest { key: "k/5".into(), ..Default::default() };
    let mut success = vec![
        request(Request::RequestPut(put("k/1", value.clone(), 0))),
        request(Request::RequestPut(put("k/2", value, 0))),
    ];
    if client.random.random() {
        success.push(request(Request::RequestDeleteRange(delete)));
    }
    let txn = pb::TxnRequest { success, ..Default::default() };
    client.propose(Op::Txn(txn)).await;
}

/// Reads a key, then writes it if nobody else has meanwhile.
async fn swap(client: &mut Client, value: String) {
    let key = any(client);
    let read = client.range(key.clone().into(), Bytes::new(), 0, false).await;
    let Some((_, found)) = read else { return };
    let seen = found.first().map_or(0, |one| one.changed);
    let compare = pb::Compare {
        key: key.clone().into(),
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        target_union: Some(TargetUnion::ModRevision(seen)),
        ..Default::default()
    };
    let range = pb::RangeRequest { key: key.clone().into(), ..Default::default() };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![request(Request::RequestPut(put(key, value, 0)))],
        failure: vec![request(Request::RequestRange(range))],
    };
    if let Fate::Is(Outcome::Txn(_, false, parts)) = client.propose(Op::Txn(txn)).await {
        debug_assert!(matches!(parts.first(), Some(Part::Range(_))), "a failed swap reads");
    }
}
