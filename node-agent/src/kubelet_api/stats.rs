//! `/stats/summary`: processor, memory and file systems of node, pods and containers.
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use keelson_proto::cri;
use serde_json::{Value, json};

use super::router::Shared;
use crate::agent::Context;
use crate::pods::{LABEL_CONTAINER_NAME, LABEL_POD_UID, name_of, namespace_of, uid_of};

/// What one container uses.
#[derive(Clone, Debug, Default)]
pub(super) struct ContainerUse {
    pub(super) pod_uid: String,
    pub(super) container: String,
    pub(super) cpu_nanos: u64,
    pub(super) cpu_nano_cores: Option<u64>,
    pub(super) working_set: u64,
    pub(super) usage: Option<u64>,
    pub(super) rss: Option<u64>,
    pub(super) writable: Option<u64>,
}

/// What all containers use; empty when the runtime does not tell.
pub(super) async fn container_use(cx: &Context) -> Vec<ContainerUse> {
    let request = cri::ListContainerStatsRequest::default();
    let answer = match cx.cri.runtime.clone().list_container_stats(request).await {
        Ok(answer) => answer.into_inner(),
        Err(_) => return Vec::new(),
    };
    let mut all = Vec::new();
    for stats in answer.stats {
        let labels = stats.attributes.map(|a| a.labels).unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let cpu = stats.cpu.unwrap_or_default();
        let memory = stats.memory.unwrap_or_default();
        all.push(ContainerUse {
            pod_uid: label(LABEL_POD_UID),
            container: label(LABEL_CONTAINER_NAME),
            cpu_nanos: cpu.usage_core_nano_seconds.map(|v| v.value).unwrap_or_default(),
            cpu_nano_cores: cpu.usage_nano_cores.map(|v| v.value),
            working_set: memory.working_set_bytes.map(|v| v.value).unwrap_or_default(),
            usage: memory.usage_bytes.map(|v| v.value),
            rss: memory.rss_bytes.map(|v| v.value),
            writable: stats.writable_layer.and_then(|w| w.used_bytes).map(|v| v.value),
        });
    }
    all
}

/// What the whole machine uses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodeUse {
    pub(super) cpu_nanos: u64,
    pub(super) working_set: u64,
    available: u64,
}

/// Reads the machine's own counters.
pub(super) fn node_use() -> NodeUse {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: all but the two idle ones, in hundredths of a second.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, t)| t).sum();
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| -> u64 {
        let line = table.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kilobytes.unwrap_or_default() * 1024
    };
    let available = bytes("MemAvailable:");
    NodeUse {
        cpu_nanos: busy * 10_000_000,
        working_set: bytes("MemTotal:").saturating_sub(available),
        available,
    }
}

/// `/stats/summary`
pub(super) async fn summary(State(shared): State<Shared>) -> Response {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut by_pod: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for used in container_use(&shared.cx).await {
        let container = json!({
            "name": used.container,
            "cpu": {"time": now, "usageNanoCores": used.cpu_nano_cores,
                "usageCoreNanoSeconds": used.cpu_nanos},
            "memory": {"time": now, "usageBytes": used.usage,
                "workingSetBytes": used.working_set, "rssBytes": used.rss},
            "rootfs": {"time": now, "usedBytes": used.writable},
        });
        by_pod.entry(used.pod_uid).or_default().push(container);
    }
    let pods: Vec<Value> = shared
        .workers
        .pods()
        .iter()
        .map(|pod| {
            let started = pod.status.as_ref().and_then(|s| s.start_time.clone());
            json!({
                "podRef": {"name": name_of(pod), "namespace": namespace_of(pod), "uid": uid_of(pod)},
                "startTime": started,
                "containers": by_pod.remove(uid_of(pod)).unwrap_or_default(),
            })
        })
        .collect();
    let node = node_use();
    let summary = json!({
        "node": {
            "nodeName": shared.cx.config.node_name,
            "cpu": {"time": now, "usageCoreNanoSeconds": node.cpu_nanos},
            "memory": {"time": now, "availableBytes": node.available,
                "workingSetBytes": node.working_set},
        },
        "pods": pods,
    });
    Json(summary).into_response()
}
