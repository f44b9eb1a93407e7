//! Node IPAM: gives each node its range of pod addresses from the cluster's.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1::Node;
use keelson_controller_runtime::{
    EventType, Next, ObjectKey, Queue, Recorder, Subject, Watched, run_workers,
};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::Controller;
use crate::env::Env;

pub(super) const ENTRY: Controller = Controller {
    name: "node-ipam-controller",
    account: "node-controller",
    run: |env| Box::pin(run(env)),
};

async fn run(env: Env) {
    if !env.config.allocate_node_cidrs {
        return;
    }
    let queue = Arc::new(Queue::default());
    let own = queue.clone();
    env.informers.nodes.on_change(move |change| own.add(change.object().key().name));
    env.informers.nodes.synced().await;
    let recorder = env.recorder("cidrAllocator");
    let token = env.token.clone();
    // One worker: two must not give the same range.
    run_workers("node-ipam", queue, 1, token, move |name| {
        reconcile(env.clone(), recorder.clone(), name)
    })
    .await;
}

async fn reconcile(env: Env, recorder: Recorder, name: String) -> Result<Next, kube::Error> {
    let Some(node) = env.informers.nodes.get(&ObjectKey::new("", &name)) else {
        return Ok(Next::Wait);
    };
    if node.is_deleting() || !ranges(&node).is_empty() {
        return Ok(Next::Wait);
    }
    let taken: BTreeSet<IpNet> =
        env.informers.nodes.list().iter().flat_map(|node| ranges(node)).collect();
    let free = env
        .config
        .cluster_cidr
        .iter()
        .map(|cluster| first_free(cluster, env.config.node_mask(cluster), &taken));
    let Some(free) = free.collect::<Option<Vec<IpNet>>>() else {
        let message = format!("Node {name} status is now: CIDRNotAvailable");
        let subject = Subject::of(&*node);
        recorder.record(&subject, EventType::Normal, "CIDRNotAvailable", message);
        return Ok(Next::Wait);
    };
    let patch = json!({
        "metadata": {"uid": node.uid(), "resourceVersion": node.metadata.resource_version},
        "spec": {"podCIDR": free.first(), "podCIDRs": free},
    });
    let nodes = Api::<Node>::all(env.client.clone());
    let written = nodes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    env.informers.nodes.observe_write(written);
    Ok(Next::Wait)
}

/// The ranges that a node has.
fn ranges(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    all.filter_map(|range| range.parse().ok()).collect()
}

/// The first range of that size in the cluster's that nobody has.
fn first_free(cluster: &IpNet, mask: u8, taken: &BTreeSet<IpNet>) -> Option<IpNet> {
    let free =
        |range: &IpNet| !taken.iter().any(|other| other.contains(range) || range.contains(other));
    let bits = u32::from(mask.checked_sub(cluster.prefix_len())?);
    let count = 1_u128.checked_shl(bits).unwrap_or(u128::MAX);
    (0..count).map_while(|index| nth(cluster, mask, index)).find(free)
}

fn nth(cluster: &IpNet, mask: u8, index: u128) -> Option<IpNet> {
    let shift = u32::from(cluster.max_prefix_len().checked_sub(mask)?);
    let offset = index.checked_shl(shift)?;
    match cluster {
        IpNet::V4(net) => {
            let start = u32::from(net.network()).checked_add(u32::try_from(offset).ok()?)?;
            Ipv4Net::new(Ipv4Addr::from(start), mask).ok().map(IpNet::V4)
        }
        IpNet::V6(net) => {
            let start = u128::from(net.network()).checked_add(offset)?;
            Ipv6Net::new(Ipv6Addr::from(start), mask).ok().map(IpNet::V6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(cluster: &str, mask: u8, taken: &[&str]) -> Option<String> {
        let taken = taken.iter().map(|range| range.parse().unwrap()).collect();
        first_free(&cluster.parse().unwrap(), mask, &taken).map(|range| range.to_string())
    }

    #[test]
    fn the_first_range_that_nobody_has_is_given() {
        let first = free("10.42.0.0/16", 24, &[]);
        assert_eq!(first.as_deref(), Some("10.42.0.0/24"));
        let third = free("10.42.0.0/16", 24, &["10.42.0.0/24", "10.42.1.128/25"]);
        assert_eq!(third.as_deref(), Some("10.42.2.0/24"));
        assert_eq!(free("10.42.0.0/23", 24, &["10.42.0.0/24", "10.42.1.0/24"]), None);
        let six = free("fd00:42::/48", 64, &["fd00:42::/64"]);
        assert_eq!(six.as_deref(), Some("fd00:42:0:1::/64"));
    }
}
