//! How kubectl ends things: graceful, forced, orphaned, in the foreground; drained nodes.

use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::workload::{Images, deployment, pod};
use keelson_tests::{Cluster, Settings, wait};

#[test]
fn deletes_cascade_as_asked() -> Result<()> {
    let images = Images::serve()?;
    let cluster = Cluster::start(Settings::default())?;
    cluster.node_ready()?;
    cluster.apply(&deployment(&images.web(1), 1))?;
    cluster.k("rollout status deployment/web --timeout=80s")?;
    let pod_name = cluster.field("pods", "{.items[0].metadata.name}")?;

    let said = cluster.k("delete deployment web --cascade=orphan")?;
    ensure!(said == "deployment.apps \"web\" deleted from default namespace\n", "{said}");
    let set = cluster.field("replicasets", "{.items[0].metadata.ownerReferences}")?;
    ensure!(set.is_empty(), "the replica set still names its owner: {set}");
    ensure!(cluster.field("pods", "{.items[*].metadata.name}")? == pod_name);

    // The replica set waits for its pods.
    cluster.k("delete replicaset --all --cascade=foreground --timeout=60s")?;
    ensure!(cluster.k("get replicasets,pods -o name")?.is_empty());

    cluster.apply(&deployment(&images.web(1), 1))?;
    cluster.k("rollout status deployment/web --timeout=80s")?;
    cluster.k("delete deployment web --timeout=60s")?;
    wait::until("the garbage collector", Duration::from_secs(30), || {
        Ok(cluster.k("get replicasets,pods -o name")?.is_empty().then_some(()))
    })
}

#[test]
fn pods_end_gracefully_unless_they_are_forced() -> Result<()> {
    let images = Images::serve()?;
    let cluster = Cluster::start(Settings::default())?;
    cluster.node_ready()?;
    let tidy = "trap 'echo tidied; exit 3' TERM; while :; do sleep 0.1; done";
    cluster.apply(&pod("tidy", &images.web(1), tidy))?;
    cluster.apply(&pod("stubborn", &images.web(1), "trap '' TERM; while :; do sleep 0.1; done"))?;
    cluster.k("wait --for=condition=Ready pod/tidy pod/stubborn --timeout=60s")?;

    let log = cluster.scratch().join("log");
    let mut follow = cluster
        .kubectl_command(&["logs", "-f", "tidy"])
        .stdout(std::fs::File::create(&log)?)
        .spawn()?;
    cluster.k("delete pod tidy --grace-period=20 --timeout=60s")?;
    follow.wait()?;
    let log = std::fs::read_to_string(&log)?;
    ensure!(log.contains("tidied"), "it was not asked to end: {log:?}");

    let forced = cluster.kubectl(&["delete", "pod", "stubborn", "--grace-period=0", "--force"])?;
    ensure!(forced.err.contains("Immediate deletion does not wait"), "{}", forced.err);
    ensure!(forced.ok()?.contains("pod \"stubborn\" force deleted"));
    ensure!(cluster.k("get pods -o name")?.is_empty());
    Ok(())
}

#[test]
fn a_drained_node_is_empty_and_takes_nothing_new() -> Result<()> {
    let images = Images::serve()?;
    let cluster = Cluster::start(Settings::default())?;
    cluster.node_ready()?;
    cluster.apply(&deployment(&images.web(1), 1))?;
    cluster.k("rollout status deployment/web --timeout=80s")?;
    let node = cluster.field("nodes", "{.items[0].metadata.name}")?;
    let old = cluster.field("pods", "{.items[0].metadata.name}")?;
    ensure!(cluster.k(&format!("cordon {node}"))? == format!("node/{node} cordoned\n"));
    ensure!(cluster.k("get nodes")?.contains("Ready,SchedulingDisabled"));
    let drained = cluster.k(&format!("drain {node} --ignore-daemonsets --timeout=60s"))?;
    ensure!(drained.contains(&format!("pod/{old} evicted")), "{drained}");
    let reason = "{.items[*].status.conditions[?(@.type=='PodScheduled')].message}";
    wait::until("the new pod to wait for a node", Duration::from_secs(30), || {
        let message = cluster.field("pods", reason)?;
        let wanted = "0/1 nodes are available: 1 node(s) were unschedulable";
        Ok(message.starts_with(wanted).then_some(()))
    })?;
    cluster.k(&format!("uncordon {node}"))?;
    cluster.k("rollout status deployment/web --timeout=80s")?;
    Ok(())
}
