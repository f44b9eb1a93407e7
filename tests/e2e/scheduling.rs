//! Where pods go and what they say when they go nowhere; nodes without an agent are enough for that.

use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::{Cluster, Settings, wait};

const WAIT: Duration = Duration::from_secs(30);

fn node(cluster: &Cluster, name: &str, cpu: &str) -> Result<()> {
    cluster.apply(&format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{disk: {name}-disk}}}}}}"
    ))?;
    let status = format!(
        r#"{{"status":{{"capacity":{{"cpu":"{cpu}","memory":"1Gi","pods":"10"}},
            "allocatable":{{"cpu":"{cpu}","memory":"1Gi","pods":"10"}},
            "conditions":[{{"type":"Ready","status":"True","reason":"Test","message":"",
            "lastHeartbeatTime":"2100-01-01T00:00:00Z","lastTransitionTime":"2100-01-01T00:00:00Z"}}]}}}}"#
    );
    let patch = ["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status];
    cluster.kubectl(&patch)?.ok()?;
    // The node life cycle takes its first taint away once the node is Ready.
    wait::until("the node's taints to go", WAIT, || {
        let taints = cluster.field(&format!("node {name}"), "{.spec.taints}")?;
        Ok(taints.is_empty().then_some(()))
    })
}

fn pod(cluster: &Cluster, name: &str, spec: &str) -> Result<()> {
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  \
         containers: [{{name: main, image: none, resources: {{requests: {{cpu: 600m}}}}}}]\n"
    ))?;
    Ok(())
}

fn condition(cluster: &Cluster, pod: &str, message: &str) -> Result<()> {
    let path = "{.status.conditions[?(@.type=='PodScheduled')]}";
    wait::until(&format!("pod {pod} to say {message:?}"), WAIT, || {
        let said = cluster.field(&format!("pod {pod}"), path)?;
        ensure!(said.contains(message), "it says {said}");
        ensure!(said.contains(r#""reason":"Unschedulable""#) && said.contains(r#""False""#));
        Ok(Some(()))
    })
}

fn node_of(cluster: &Cluster, pod: &str, expected: &str) -> Result<()> {
    wait::until(&format!("pod {pod} to be bound to {expected}"), WAIT, || {
        let node = cluster.field(&format!("pod {pod}"), "{.spec.nodeName}")?;
        ensure!(node == expected, "it is on {node:?}");
        Ok(Some(()))
    })
}

#[test]
fn a_pod_that_fits_nowhere_says_why_and_goes_where_it_fits_later() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    pod(&cluster, "early", "nodeSelector: {disk: small-disk}")?;
    condition(&cluster, "early", "no nodes available to schedule pods")?;

    node(&cluster, "small", "1")?;
    node_of(&cluster, "early", "small")?;
    pod(&cluster, "second", "restartPolicy: Always")?;
    condition(&cluster, "second", "0/1 nodes are available: 1 Insufficient cpu. ")?;
    pod(&cluster, "choosy", "nodeSelector: {disk: none}")?;
    let words = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. ";
    condition(&cluster, "choosy", words)?;
    let events = wait::until("the event", WAIT, || {
        let events = cluster.k("events --for pod/second")?;
        Ok(events.contains("FailedScheduling").then_some(events))
    })?;
    ensure!(events.contains("Warning") && events.contains("1 Insufficient cpu"), "{events}");
    let said = cluster.k("describe pod second")?;
    ensure!(
        said.contains("default-scheduler") && said.contains("Node:             <none>"),
        "{said}"
    );

    node(&cluster, "large", "4")?;
    node_of(&cluster, "second", "large")?;
    cluster.k("label node large disk=none --overwrite")?;
    node_of(&cluster, "choosy", "large")?;
    let events = cluster.k("events --for pod/choosy")?;
    ensure!(events.contains("Successfully assigned default/choosy to large"), "{events}");
    Ok(())
}

#[test]
fn cordons_and_taints_keep_pods_away_until_lifted() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    node(&cluster, "only", "4")?;
    cluster.k("cordon only")?;
    pod(&cluster, "waits", "restartPolicy: Always")?;
    condition(&cluster, "waits", "0/1 nodes are available: 1 node(s) were unschedulable. ")?;
    cluster.k("uncordon only")?;
    node_of(&cluster, "waits", "only")?;

    cluster.k("taint node only for=tests:NoSchedule")?;
    pod(&cluster, "kept-away", "restartPolicy: Always")?;
    let words = "0/1 nodes are available: 1 node(s) had untolerated taint(s). ";
    condition(&cluster, "kept-away", words)?;
    pod(&cluster, "tolerates", "tolerations: [{key: for, operator: Exists}]")?;
    node_of(&cluster, "tolerates", "only")?;
    cluster.k("taint node only for-")?;
    node_of(&cluster, "kept-away", "only")
}
