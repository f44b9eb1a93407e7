//! `/metrics` and `/metrics/resource` in the Prometheus text format.
use std::collections::BTreeMap;
use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::router::Shared;
use super::stats::{container_use, node_use};
use crate::pods::{name_of, namespace_of, uid_of};

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body).into_response()
}

/// `/metrics`: how many pods and containers run.
pub(super) async fn agent(State(shared): State<Shared>) -> Response {
    let pods = shared.workers.pods();
    let running = pods
        .iter()
        .filter(|pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"))
        .count();
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        "# HELP kubelet_running_pods Number of pods that have a running pod sandbox\n\
         # TYPE kubelet_running_pods gauge\n\
         kubelet_running_pods {running}\n\
         # HELP kubelet_active_pods The number of pods the kubelet considers active\n\
         # TYPE kubelet_active_pods gauge\n\
         kubelet_active_pods {}\n",
        pods.len()
    );
    text(body)
}

/// `/metrics/resource`: what the metrics server asks.
pub(super) async fn resource(State(shared): State<Shared>) -> Response {
    let pods: BTreeMap<String, (String, String)> = shared
        .workers
        .pods()
        .iter()
        .map(|pod| {
            (uid_of(pod).to_owned(), (namespace_of(pod).to_owned(), name_of(pod).to_owned()))
        })
        .collect();
    let node = node_use();
    let mut cpu = String::new();
    let mut memory = String::new();
    for used in container_use(&shared.cx).await {
        let Some((namespace, pod)) = pods.get(&used.pod_uid) else { continue };
        let labels =
            format!("container=\"{}\",namespace=\"{namespace}\",pod=\"{pod}\"", used.container);
        let seconds = seconds(used.cpu_nanos);
        let _ = writeln!(cpu, "container_cpu_usage_seconds_total{{{labels}}} {seconds}");
        let bytes = used.working_set;
        let _ = writeln!(memory, "container_memory_working_set_bytes{{{labels}}} {bytes}");
    }
    text(format!(
        "# TYPE container_cpu_usage_seconds_total counter\n{cpu}\
         # TYPE container_memory_working_set_bytes gauge\n{memory}\
         # TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total {}\n\
         # TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes {}\n",
        seconds(node.cpu_nanos),
        node.working_set
    ))
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}
