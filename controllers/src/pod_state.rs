//! What a pod's status says: whether it is active, ready, available.

use std::time::Duration;

use jiff::Timestamp;
use keelson_controller_runtime::Watched;

use crate::objects::{Condition, Pod};

impl Pod {
    /// The phase, Pending if there is none yet.
    pub(crate) fn phase(&self) -> &str {
        self.status.phase.as_deref().unwrap_or("Pending")
    }

    /// True once the pod has ended for good.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// True while the pod counts as a replica.
    pub(crate) fn is_active(&self) -> bool {
        !self.is_terminal() && !self.is_deleting()
    }

    /// The condition of that type.
    pub(crate) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().flatten().find(|condition| condition.kind == kind)
    }

    /// True if the Ready condition holds.
    pub(crate) fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|ready| ready.status == "True")
    }

    /// Since when the pod is ready.
    pub(crate) fn ready_since(&self) -> Option<Timestamp> {
        self.condition("Ready")
            .filter(|ready| ready.status == "True")
            .and_then(|ready| ready.last_transition_time.as_ref())
            .map(|time| time.0)
    }

    /// Whether the pod has been ready long enough, or how long it still takes.
    pub(crate) fn availability(&self, min_ready_seconds: i32, now: Timestamp) -> Availability {
        if !self.is_ready() {
            return Availability::NotReady;
        }
        let Ok(seconds @ 1..) = u64::try_from(min_ready_seconds) else {
            return Availability::Available;
        };
        let Some(since) = self.ready_since() else {
            return Availability::NotReady;
        };
        let ready_for = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        match Duration::from_secs(seconds).checked_sub(ready_for) {
            None | Some(Duration::ZERO) => Availability::Available,
            Some(wait) => Availability::AvailableIn(wait),
        }
    }

    /// The name of the pod's node, empty if it has none.
    pub(crate) fn node_name(&self) -> &str {
        self.spec.node_name.as_deref().unwrap_or("")
    }

    /// The pod's addresses.
    pub(crate) fn addresses(&self) -> Vec<&str> {
        let all: Vec<&str> =
            self.status.pod_ips.iter().flatten().map(|address| address.ip.as_str()).collect();
        if !all.is_empty() {
            return all;
        }
        self.status.pod_ip.as_deref().filter(|ip| !ip.is_empty()).into_iter().collect()
    }

    /// When the pod was created.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    /// The highest restart count of its containers.
    pub(crate) fn restarts(&self) -> i32 {
        let statuses = self.status.container_statuses.iter().flatten();
        statuses.map(|status| status.restart_count).max().unwrap_or(0)
    }
}

/// Whether a pod is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It is not ready.
    NotReady,
    /// It is ready, and available after this long if it stays so.
    AvailableIn(Duration),
    /// It is available.
    Available,
}
