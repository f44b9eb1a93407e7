//! `/health`, `/livez`, `/readyz`: whether this member can do its work.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ::http::StatusCode;
use bytes::Bytes;
use keelson_proto::etcdserverpb::{AlarmType, RangeRequest};

use super::{text, values};
use crate::face::EtcdFace;
use crate::grpc::Outgoing;
use crate::kv;

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Checks of `/livez`, by name.
pub(super) const LIVE: [&str; 1] = ["serializable_read"];
/// Checks of `/readyz`, by name.
pub(super) const READY: [&str; 4] =
    ["data_corruption", "serializable_read", "linearizable_read", "non_learner"];

// upstream: etcd v3, "/health"
pub(super) async fn health(face: &EtcdFace, query: &str) -> Outgoing {
    let serializable = values(query, "serializable").any(|value| value == "true");
    let result = match alarm(face, query) {
        Some(reason) => Err(reason),
        None if !serializable && face.leader().is_none() => Err("RAFT NO LEADER".to_owned()),
        None => read(face, serializable).await.map_err(|error| format!("RANGE ERROR:{error}")),
    };
    let metrics = face.metrics();
    let (status, body) = match result {
        Ok(()) => {
            metrics.health_successes.fetch_add(1, Ordering::Relaxed);
            (StatusCode::OK, serde_json::json!({"health": "true", "reason": ""}))
        }
        Err(reason) => {
            metrics.health_failures.fetch_add(1, Ordering::Relaxed);
            let body = serde_json::json!({"health": "false", "reason": reason});
            (StatusCode::SERVICE_UNAVAILABLE, body)
        }
    };
    text(status, "application/json", body.to_string())
}

/// Runs a group of checks, or one of it.
// upstream: etcd v3, "/livez" and "/readyz"
pub(super) async fn probe(
    face: &EtcdFace,
    checks: &[&'static str],
    only: Option<&str>,
    query: &str,
) -> Outgoing {
    let kind = "text/plain; charset=utf-8";
    if only.is_some_and(|only| !checks.contains(&only)) {
        return text(StatusCode::NOT_FOUND, kind, "404 page not found\n");
    }
    let excluded: Vec<&str> = values(query, "exclude").collect();
    let (mut lines, mut failed) = (String::new(), false);
    for check in checks.iter().filter(|check| only.is_none_or(|only| only == **check)) {
        if excluded.contains(check) {
            lines.push_str(&format!("[+]{check} excluded: ok\n"));
            continue;
        }
        match run(face, check).await {
            Ok(()) => lines.push_str(&format!("[+]{check} ok\n")),
            Err(reason) => {
                failed = true;
                lines.push_str(&format!("[-]{check} failed: {reason}\n"));
            }
        }
    }
    let verbose = values(query, "verbose").next().is_some();
    match (failed, verbose) {
        (true, _) => text(StatusCode::SERVICE_UNAVAILABLE, kind, lines),
        (false, true) => text(StatusCode::OK, kind, format!("{lines}ok\n")),
        (false, false) => text(StatusCode::OK, kind, "ok\n"),
    }
}

async fn run(face: &EtcdFace, check: &str) -> Result<(), String> {
    match check {
        "data_corruption" => {
            let corrupt = AlarmType::Corrupt as i32;
            let raised = face.node().view().alarms().iter().any(|(alarm, _)| *alarm == corrupt);
            if raised { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
        }
        "serializable_read" => read(face, true).await,
        "linearizable_read" => read(face, false).await,
        _ if face.node().status().is_learner => Err("not supported for learner".to_owned()),
        _ => Ok(()),
    }
}

async fn read(face: &EtcdFace, serializable: bool) -> Result<(), String> {
    let key = Bytes::from_static(b"health");
    let request = RangeRequest { key, limit: 1, serializable, ..Default::default() };
    match tokio::time::timeout(LIMIT, kv::range(face.trusted(), request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}

fn alarm(face: &EtcdFace, query: &str) -> Option<String> {
    let name = |alarm: i32| match alarm {
        1 => "NOSPACE",
        2 => "CORRUPT",
        _ => "UNKNOWN",
    };
    let alarms = face.node().view().alarms();
    let counts = |alarm: &&str| !values(query, "exclude").any(|value| value == *alarm);
    let first = alarms.iter().map(|(alarm, _)| name(*alarm)).find(counts);
    first.map(|alarm| format!("ALARM {alarm}"))
}
