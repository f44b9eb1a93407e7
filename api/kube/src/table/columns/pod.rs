//! Pods: the row that people read most.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells::{age, count, items, name, text, text_or};
use crate::table::{AGE, Column, NAME, Printer, human_duration};

pub(crate) static POD: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Ready"),
        Column::text("Status"),
        Column::text("Restarts"),
        AGE,
        Column::text("IP").wide(),
        Column::text("Node").wide(),
        Column::text("Nominated Node").wide(),
        Column::text("Readiness Gates").wide(),
    ],
    cells,
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    vec![
        name(pod),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.status),
        json!(summary.restarts(now)),
        age(pod, now),
        json!(text_or(pod, "/status/podIPs/0/ip", "<none>")),
        json!(text_or(pod, "/spec/nodeName", "<none>")),
        json!(text_or(pod, "/status/nominatedNodeName", "<none>")),
        json!(readiness_gates(pod)),
    ]
}

/// What the containers' states come to.
#[derive(Default)]
struct Summary {
    status: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let mut made =
            Summary { status: text(pod, "/status/phase").to_owned(), ..Default::default() };
        let own_reason = text(pod, "/status/reason");
        if !own_reason.is_empty() {
            made.status = own_reason.to_owned();
        }
        if condition(pod, "PodScheduled").is_some_and(|c| c["reason"] == "SchedulingGated") {
            made.status = "SchedulingGated".to_owned();
        }
        made.total = items(pod, "/spec/containers").count()
            + items(pod, "/spec/initContainers").filter(|c| is_sidecar(c)).count();
        let mut sidecars = Summary::default();
        let initializing = made.add_init_containers(pod, &mut sidecars);
        let initialized = condition(pod, "Initialized").is_some_and(|c| c["status"] == "True");
        if !initializing || initialized {
            made.restarts = sidecars.restarts;
            made.last_restart = sidecars.last_restart;
            made.add_containers(pod);
        }
        let deleted = !pod["metadata"]["deletionTimestamp"].is_null();
        if deleted && own_reason == "NodeLost" {
            made.status = "Unknown".to_owned();
        } else if deleted && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
            made.status = "Terminating".to_owned();
        }
        made
    }

    /// Returns whether initialization is still going on, or failed.
    fn add_init_containers(&mut self, pod: &Value, sidecars: &mut Summary) -> bool {
        let total = items(pod, "/spec/initContainers").count();
        for (at, status) in items(pod, "/status/initContainerStatuses").enumerate() {
            self.add_restarts(status);
            let spec = items(pod, "/spec/initContainers").find(|c| c["name"] == status["name"]);
            let sidecar = spec.is_some_and(is_sidecar);
            if sidecar {
                sidecars.add_restarts(status);
            }
            let state = &status["state"];
            let terminated = state.get("terminated").filter(|t| !t.is_null());
            if terminated.is_some_and(|t| count(t, "/exitCode") == 0) {
                continue;
            }
            if sidecar && status["started"] == true {
                self.ready += usize::from(status["ready"] == true);
                continue;
            }
            let waiting = text(state, "/waiting/reason");
            self.status = match terminated {
                Some(ended) => format!("Init:{}", exit_reason(ended)),
                None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
                None => format!("Init:{at}/{total}"),
            };
            return true;
        }
        false
    }

    fn add_containers(&mut self, pod: &Value) {
        let mut running = false;
        let mut failure = String::new();
        let statuses: Vec<&Value> = items(pod, "/status/containerStatuses").collect();
        for status in statuses.into_iter().rev() {
            self.add_restarts(status);
            let state = &status["state"];
            let waiting = text(state, "/waiting/reason");
            if !waiting.is_empty() {
                self.status = waiting.to_owned();
            } else if let Some(ended) = state.get("terminated").filter(|t| !t.is_null()) {
                self.status = exit_reason(ended);
                if count(ended, "/exitCode") != 0 {
                    failure.clone_from(&self.status);
                }
            } else if status["ready"] == true && !state["running"].is_null() {
                running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" {
            let ready = condition(pod, "Ready").is_some_and(|c| c["status"] == "True");
            if running && ready {
                self.status = "Running".to_owned();
            } else if !failure.is_empty() {
                self.status = failure;
            } else if running {
                self.status = "NotReady".to_owned();
            }
        }
    }

    fn add_restarts(&mut self, status: &Value) {
        self.restarts += count(status, "/restartCount");
        let ended = text(status, "/lastState/terminated/finishedAt").parse::<Timestamp>().ok();
        self.last_restart = self.last_restart.max(ended);
    }

    fn restarts(&self, now: Timestamp) -> String {
        match self.last_restart {
            Some(then) if self.restarts != 0 => {
                let ago = human_duration(now.as_second() - then.as_second());
                format!("{} ({ago} ago)", self.restarts)
            }
            _ => self.restarts.to_string(),
        }
    }
}

fn exit_reason(ended: &Value) -> String {
    match (text(ended, "/reason"), count(ended, "/signal")) {
        ("", 0) => format!("ExitCode:{}", count(ended, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    items(pod, "/status/conditions").find(|c| c["type"] == kind)
}

fn readiness_gates(pod: &Value) -> String {
    let gates: Vec<&str> =
        items(pod, "/spec/readinessGates").filter_map(|g| g["conditionType"].as_str()).collect();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = |gate: &&&str| condition(pod, gate).is_some_and(|c| c["status"] == "True");
    format!("{}/{}", gates.iter().filter(open).count(), gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(spec: Value, status: Value) -> Vec<String> {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        let now = "2026-01-01T00:10:00Z".parse().expect("a time");
        let cells = cells(&pod, now);
        cells[1..4].iter().map(|c| c.as_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn states_of_containers_make_the_status() {
        let one = json!({"containers": [{"name": "a"}]});
        let status = |s: Value| json!({"phase": "Running", "containerStatuses": [s]});
        for (state, wanted) in [
            (json!({"ready": true, "state": {"running": {}}}), ["1/1", "Running", "0"]),
            (
                json!({"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"finishedAt": "2026-01-01T00:05:00Z"}}}),
                ["0/1", "CrashLoopBackOff", "3 (5m ago)"],
            ),
            (
                json!({"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
                ["0/1", "OOMKilled", "0"],
            ),
            (json!({"state": {"terminated": {"exitCode": 2}}}), ["0/1", "ExitCode:2", "0"]),
            (
                json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}),
                ["0/1", "Completed", "0"],
            ),
        ] {
            assert_eq!(row(one.clone(), status(state)), wanted);
        }
    }

    #[test]
    fn init_containers_come_first() {
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [
            {"name": "x"}, {"name": "s", "restartPolicy": "Always"}]});
        let status = |a: Value, b: Value| {
            json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "x", "state": a}, {"name": "s", "started": true, "ready": true, "state": b}]})
        };
        assert_eq!(
            row(spec.clone(), status(json!({"running": {}}), json!({}))),
            ["0/2", "Init:0/2", "0"]
        );
        assert_eq!(
            row(
                spec.clone(),
                status(json!({"terminated": {"exitCode": 1, "reason": "Error"}}), json!({}))
            ),
            ["0/2", "Init:Error", "0"]
        );
        assert_eq!(
            row(spec, status(json!({"terminated": {"exitCode": 0}}), json!({"running": {}}))),
            ["1/2", "Pending", "0"]
        );
    }

    #[test]
    fn deletion_shows() {
        let pod = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"phase": "Running"}});
        assert_eq!(Summary::of(&pod).status, "Terminating");
    }
}
