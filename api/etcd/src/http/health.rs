//! `/health`, `/livez`, `/readyz`: whether this member can do its work.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use keelson_proto::etcdserverpb::{AlarmType, RangeRequest};

use serde_json::json;

use super::{error, text, values};
use crate::face::EtcdFace;
use crate::grpc::Outgoing;
use crate::kv;

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A group of checks under one path.
pub(super) struct Group {
    /// `livez` or `readyz`.
    pub(super) name: &'static str,
    checks: &'static [&'static str],
}

impl Group {
    /// Whether it has this check.
    pub(super) fn has(&self, check: &str) -> bool {
        self.checks.contains(&check)
    }
}

/// Whether the process should be restarted.
pub(super) static LIVEZ: Group = Group { name: "livez", checks: &["serializable_read"] };
/// Whether it should get requests.
pub(super) static READYZ: Group = Group {
    name: "readyz",
    checks: &["data_corruption", "serializable_read", "linearizable_read", "non_learner"],
};

/// Checks of all groups, for those who count them.
pub(crate) fn all_checks() -> impl Iterator<Item = (&'static str, &'static str)> {
    let named = |group: &'static Group| group.checks.iter().map(|check| (group.name, *check));
    named(&LIVEZ).chain(named(&READYZ))
}

// upstream: etcd v3, "/health"
pub(super) async fn health(face: &EtcdFace, query: &str) -> Outgoing {
    let serializable = values(query, "serializable").next() == Some("true");
    let result = match alarm(face, query) {
        Some(reason) => Err(reason),
        None if !serializable && face.leader().is_none() => Err("RAFT NO LEADER".to_owned()),
        None => read(face, serializable).await.map_err(|error| format!("RANGE ERROR:{error}")),
    };
    let metrics = face.metrics();
    match result {
        Ok(()) => {
            metrics.health_successes.fetch_add(1, Ordering::Relaxed);
            let body = json!({"health": "true", "reason": ""});
            text(StatusCode::OK, "text/plain; charset=utf-8", body.to_string())
        }
        Err(reason) => {
            metrics.health_failures.fetch_add(1, Ordering::Relaxed);
            let body = json!({"health": "false", "reason": reason}).to_string();
            tracing::warn!(output = body, "status-code" = 503, "/health error");
            error(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

/// Runs a group of checks, or one of it.
// upstream: etcd v3, "/livez" and "/readyz"
pub(super) async fn probe(
    face: &EtcdFace,
    group: &'static Group,
    only: Option<&str>,
    query: &str,
) -> Outgoing {
    let excluded: Vec<&str> = values(query, "exclude").filter(|name| !name.is_empty()).collect();
    let (mut lines, mut failed) = (String::new(), false);
    for check in group.checks {
        let runs = match only {
            Some(only) => only == *check,
            None => !excluded.contains(check),
        };
        if !runs {
            continue;
        }
        let result = run(face, check).await;
        face.metrics().checked(group.name, check, result.is_ok());
        match result {
            Ok(()) => lines.push_str(&format!("[+]{check} ok\n")),
            Err(reason) => {
                failed = true;
                lines.push_str(&format!("[-]{check} failed: {reason}\n"));
            }
        }
    }
    let missing: Vec<&&str> = excluded.iter().filter(|name| !group.has(name)).collect();
    if only.is_none() && !missing.is_empty() {
        tracing::warn!("missing-health-checks" = ?missing, "some health checks cannot be excluded");
    }
    if failed {
        tracing::warn!(path = group.name, reason = lines, "Health check error");
        return error(StatusCode::SERVICE_UNAVAILABLE, &lines);
    }
    if values(query, "verbose").next().is_none() {
        lines.clear();
    }
    let mut response = text(StatusCode::OK, "text/plain; charset=utf-8", format!("{lines}ok\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
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
