//! Stock etcdctl against the store of `keelson up`: TLS, client certificate.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use keelson_tests::{Cluster, Settings};

#[test]
fn etcdctl_reads_writes_watches_and_leases() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    let etcdctl = |arguments: &[&str]| cluster.etcdctl(arguments, None)?.ok();

    let keys = etcdctl(&["get", "--prefix", "/registry", "--keys-only"])?;
    for key in ["/registry/namespaces/default", "/registry/namespaces/kube-system"] {
        ensure!(keys.lines().any(|line| line == key), "{key} is missing in {keys}");
    }
    let value = etcdctl(&["get", "/registry/namespaces/default", "--print-value-only"])?;
    let object: serde_json::Value = serde_json::from_str(value.trim()).context("JSON is stored")?;
    ensure!(object["kind"] == "Namespace", "{object}");

    ensure!(etcdctl(&["put", "greeting", "hello"])?.trim() == "OK");
    ensure!(etcdctl(&["get", "greeting"])? == "greeting\nhello\n");
    let txn =
        "value(\"greeting\") = \"hello\"\n\nput greeting bonjour\nget greeting\n\nget greeting\n\n";
    let answer = cluster.etcdctl(&["txn"], Some(txn))?.ok()?;
    ensure!(answer.contains("SUCCESS") && answer.contains("bonjour"), "{answer}");

    let granted = etcdctl(&["lease", "grant", "60"])?;
    let lease = granted.split_whitespace().nth(1).context("a lease id")?.to_owned();
    etcdctl(&["put", "--lease", &lease, "leased", "x"])?;
    let alive = etcdctl(&["lease", "keep-alive", "--once", &lease])?;
    ensure!(alive.contains("keepalived with TTL(60)"), "{alive}");
    let left = etcdctl(&["lease", "timetolive", "--keys", &lease])?;
    ensure!(left.contains("granted with TTL(60s)") && left.contains("leased"), "{left}");
    etcdctl(&["lease", "revoke", &lease])?;
    ensure!(etcdctl(&["get", "leased"])?.is_empty());

    let status = etcdctl(&["endpoint", "status", "-w", "table"])?;
    ensure!(status.contains("3.7.1") && status.contains("true"), "{status}");
    etcdctl(&["endpoint", "health"])?;
    etcdctl(&["member", "list"])?;

    let refused =
        cluster.etcdctl(&["--cert", "/dev/null", "--key", "/dev/null", "get", "a"], None)?;
    ensure!(refused.code != 0, "a client without a certificate was served");
    Ok(())
}

#[test]
fn etcdctl_watches_what_kubectl_does() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    let mut watch = cluster
        .etcdctl_command(&["watch", "--prefix", "/registry/configmaps/default/", "--rev", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(watch.stdout.take().context("output")?).lines();
    cluster.k("create configmap seen --from-literal=a=b")?;
    let mut found = false;
    for line in &mut lines {
        let line = line?;
        if line == "/registry/configmaps/default/seen" {
            found = true;
            break;
        }
    }
    watch.kill()?;
    watch.wait()?;
    ensure!(found, "the watch ended without the event");
    Ok(())
}
