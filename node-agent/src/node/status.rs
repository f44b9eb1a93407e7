//! Measures the node and makes its status.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus,
};
use keelson_proto::cri;

use super::conditions::{Health, conditions};
use crate::agent::{Context, KUBELET_VERSION};

/// Images that a status names.
const IMAGES_MAX: usize = 50;
const NAMES_MAX: usize = 5;

/// The status as it is now; `old` decides about transition times.
pub(crate) async fn measure(cx: &Context, old: &[NodeCondition]) -> NodeStatus {
    let health = health(cx).await;
    let config = &cx.config;
    let mut addresses: Vec<NodeAddress> = config
        .node_ips
        .iter()
        .map(|ip| NodeAddress { type_: "InternalIP".into(), address: ip.to_string() })
        .collect();
    addresses.push(NodeAddress { type_: "Hostname".into(), address: config.node_name.clone() });
    let runtime = format!("{}://{}", cx.runtime_name, cx.runtime_version);
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(cx.machine.capacity(config)),
        allocatable: Some(cx.machine.allocatable_quantities(config)),
        conditions: Some(conditions(&health, old, Timestamp::now())),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.port) }),
        }),
        images: Some(images(cx).await),
        node_info: Some(cx.machine.node_info(&runtime, KUBELET_VERSION)),
        ..Default::default()
    }
}

async fn health(cx: &Context) -> Health {
    let mut problems = Vec::new();
    let request = cri::StatusRequest { verbose: false };
    match cx.cri.runtime.clone().status(request).await {
        Ok(answer) => {
            let status = answer.into_inner().status.unwrap_or_default();
            for (type_, words) in [
                ("NetworkReady", "container runtime network not ready"),
                ("RuntimeReady", "container runtime not ready"),
            ] {
                let found = status.conditions.iter().find(|c| c.r#type == type_);
                match found {
                    Some(condition) if condition.status => {}
                    Some(condition) => problems.push(format!(
                        "{words}: {type_}=false reason:{} message:{}",
                        condition.reason, condition.message
                    )),
                    None => problems.push(format!("{words}: {type_} is missing")),
                }
            }
        }
        Err(_) => problems.push("container runtime is down".into()),
    }
    Health { problems, memory_pressure: memory_pressure(cx), ..Default::default() }
}

fn memory_pressure(cx: &Context) -> bool {
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.is_some_and(|kilobytes| kilobytes * 1024 < cx.config.eviction_memory_bytes)
}

async fn images(cx: &Context) -> Vec<ContainerImage> {
    let listed = cx.cri.images.clone().list_images(cri::ListImagesRequest::default()).await;
    let mut images = match listed {
        Ok(answer) => answer.into_inner().images,
        Err(_) => return Vec::new(),
    };
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    images
        .into_iter()
        .take(IMAGES_MAX)
        .map(|image| {
            let names = image.repo_digests.into_iter().chain(image.repo_tags);
            ContainerImage {
                names: Some(names.take(NAMES_MAX).collect()),
                size_bytes: i64::try_from(image.size).ok(),
            }
        })
        .collect()
}
