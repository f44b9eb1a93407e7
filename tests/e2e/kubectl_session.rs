//! A user's first session: stock kubectl, a Deployment, a Service, real containers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_tests::workload::{Images, SERVICE, deployment, pod};
use keelson_tests::{Cluster, Settings, wait};

#[test]
fn a_first_session_with_kubectl() -> Result<()> {
    let images = Images::serve()?;
    let (one, two) = (images.web(1), images.web(2));
    let cluster = Cluster::start(Settings::default())?;
    cluster.node_ready()?;

    // Deployment and Service, to the end of the rollout.
    cluster.apply(&format!("{}---\n{SERVICE}", deployment(&one, 3)))?;
    cluster.k("rollout status deployment/web --timeout=80s")?;
    let all = cluster.k("get deploy,rs,pods,svc -o wide")?;
    for text in
        ["deployment.apps/web", "3/3", "replicaset.apps/web-", "pod/web-", "service/web", "Running"]
    {
        ensure!(all.contains(text), "{text} is missing in\n{all}");
    }

    // Service name through cluster DNS, Service address through the packet filter.
    cluster.apply(&pod("client", &one, "sleep 3600"))?;
    cluster.k("wait --for=condition=Ready pod/client --timeout=60s")?;
    let resolved =
        cluster.kubectl(&["exec", "client", "--", "nslookup", "web.default.svc.cluster.local"])?;
    let address = cluster.field("svc web", "{.spec.clusterIP}")?;
    ensure!(resolved.out.contains(&address), "{} {}", resolved.out, resolved.err);
    let page = fetch(&cluster, "web")?;
    ensure!(page.contains("version one"), "{page}");

    // exec gives the exit code; logs follow; describe shows events.
    let ended = cluster.kubectl(&["exec", "client", "--", "sh", "-c", "exit 7"])?;
    ensure!(ended.code == 7, "exit code {}: {}", ended.code, ended.err);
    cluster.apply(&pod("talker", &one, "for i in 1 2 3; do echo line $i; done"))?;
    let logs = wait::until("the talker's log", Duration::from_secs(30), || {
        let logs = cluster.kubectl(&["logs", "-f", "talker"])?;
        Ok((logs.code == 0 && logs.out.contains("line 3")).then_some(logs.out))
    })?;
    ensure!(logs == "line 1\nline 2\nline 3\n", "{logs}");
    cluster.k("wait --for=jsonpath={.status.phase}=Succeeded pod/talker --timeout=30s")?;
    ensure!(cluster.k("get pod talker")?.contains("Completed"));
    let described = cluster.k("describe pod talker")?;
    for event in ["Scheduled", "Pulled", "Created", "Started"] {
        ensure!(described.contains(event), "{event} is missing in\n{described}");
    }

    // Scale, update, undo.
    cluster.k("scale deployment web --replicas=2")?;
    cluster.k("rollout status deployment/web --timeout=60s")?;
    cluster.k(&format!("set image deployment/web web={two}"))?;
    cluster.k("rollout status deployment/web --timeout=80s")?;
    wait::until("the new version", Duration::from_secs(30), || {
        Ok(fetch(&cluster, "web")?.contains("version two").then_some(()))
    })?;
    cluster.k("rollout undo deployment/web")?;
    cluster.k("rollout status deployment/web --timeout=80s")?;
    let image = cluster.field("deployment web", "{.spec.template.spec.containers[0].image}")?;
    ensure!(image == one, "undo left {image}");

    // Labels and the three patches.
    cluster.k("label deployment web tier=front")?;
    for (kind, patch) in [
        ("json", r#"[{"op":"add","path":"/metadata/labels/a","value":"json"}]"#),
        ("merge", r#"{"metadata":{"labels":{"b":"merge"}}}"#),
        (
            "strategic",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"X","value":"1"}]}]}}}}"#,
        ),
    ] {
        cluster.kubectl(&["patch", "deployment", "web", "--type", kind, "-p", patch])?.ok()?;
    }
    let labels = cluster.field("deployment web", "{.metadata.labels}")?;
    ensure!(
        labels.contains("json") && labels.contains("merge") && labels.contains("front"),
        "{labels}"
    );
    let containers = cluster.field("deployment web", "{.spec.template.spec.containers[*].name}")?;
    ensure!(containers == "web", "a strategic patch replaced the list: {containers}");
    cluster.k("rollout status deployment/web --timeout=80s")?;

    // Outputs, and a graceful end.
    ensure!(cluster.k("get deployment web -o yaml")?.contains("kind: Deployment"));
    let json: serde_json::Value = serde_json::from_str(&cluster.k("get deployment web -o json")?)?;
    ensure!(json["spec"]["replicas"] == 2, "{json}");
    cluster.k("delete deployment/web service/web pod/client pod/talker --timeout=60s")?;
    wait::until("the pods to go", Duration::from_secs(30), || {
        Ok(cluster.k("get pods -o name")?.is_empty().then_some(()))
    })?;
    Ok(())
}

/// A page of a Service, fetched by name from inside the cluster.
fn fetch(cluster: &Cluster, service: &str) -> Result<String> {
    // busybox's wget crashes on this kind of host: nc speaks HTTP well enough.
    let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {service} 80");
    cluster.kubectl(&["exec", "client", "--", "sh", "-c", &script])?.ok().context("fetch the page")
}
