//! `/debug/elections`: what this member was, when and why, as far back as it remembers.

use ::http::StatusCode;
use serde_json::json;

use super::text;
use crate::face::EtcdFace;
use crate::grpc::Outgoing;

pub(super) fn elections(face: &EtcdFace) -> Outgoing {
    let node = face.node();
    let id = |id: u64| format!("{id:x}");
    let changes = node.timeline().into_iter().map(|change| {
        json!({
            "unixMicros": u64::try_from(change.since_epoch.as_micros()).unwrap_or(u64::MAX),
            "term": change.term,
            "role": change.role.name(),
            "leader": change.leader.map(id),
            "cause": change.cause,
        })
    });
    let changes: Vec<_> = changes.collect();
    let body = json!({ "memberID": id(node.status().member_id), "changes": changes });
    text(StatusCode::OK, "application/json; charset=utf-8", format!("{body}\n"))
}
