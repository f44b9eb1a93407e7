//! `/debug/elections`: what this member was, when and why, as far back as it remembers.

use std::time::Duration;

use ::http::StatusCode;
use keelson_storage::disk::wall_clock;
use serde_json::json;

use super::text;
use crate::face::EtcdFace;
use crate::grpc::Outgoing;

pub(super) fn elections(face: &EtcdFace) -> Outgoing {
    let node = face.node();
    let id = |id: u64| format!("{id:x}");
    let changes = node.timeline().into_iter().map(|change| {
        json!({
            "unixMicros": micros(change.since_epoch),
            "microsAgo": micros(change.since.elapsed()),
            "term": change.term,
            "role": change.role.name(),
            "leader": change.leader.map(id),
            "cause": change.cause,
        })
    });
    let changes: Vec<_> = changes.collect();
    let (member, now) = (id(node.status().member_id), micros(wall_clock()));
    let body = json!({ "memberID": member, "unixMicros": now, "changes": changes });
    text(StatusCode::OK, "application/json; charset=utf-8", format!("{body}\n"))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
