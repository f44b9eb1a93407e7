//! kill -9 of the whole control plane: objects are there, containers never noticed.

use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::image::{archive, busybox};
use keelson_tests::{Cluster, Settings, wait};

const IMAGE: &str = "localhost/keelson-test/busybox:1";

const POD: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: lasting}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: localhost/keelson-test/busybox:1
    imagePullPolicy: Never
    command: ["sh", "-c", "while true; do date; sleep 1; done"]
"#;

#[test]
fn a_killed_control_plane_comes_back_and_adopts_its_containers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let image = dir.path().join("busybox.tar");
    archive(&busybox("one")?, IMAGE, &image)?;
    let flags = vec!["--import-image".to_owned(), image.display().to_string()];
    let mut cluster = Cluster::start(Settings { flags, ..Settings::default() })?;
    cluster.node_ready()?;
    cluster.apply(POD)?;
    cluster.k("wait --for=condition=Ready pod/lasting --timeout=60s")?;
    let status = "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}";
    let before = cluster.field("pod lasting", status)?;
    for number in 0..20 {
        cluster.k(&format!("create configmap kept-{number} --from-literal=n={number}"))?;
    }

    cluster.kill_9()?;
    cluster.up()?;

    for number in 0..20 {
        let value = cluster.field(&format!("configmap kept-{number}"), "{.data.n}")?;
        ensure!(value == number.to_string(), "kept-{number} holds {value:?}");
    }
    // A new log line proves that the container runs and that its log is still read.
    let lines = cluster.k("logs lasting")?.lines().count();
    wait::until("new log lines", Duration::from_secs(20), || {
        Ok((cluster.k("logs lasting")?.lines().count() > lines + 1).then_some(()))
    })?;
    cluster.k("wait --for=condition=Ready pod/lasting --timeout=60s")?;
    let after = cluster.field("pod lasting", status)?;
    ensure!(before == after, "the container changed: {before} -> {after}");
    ensure!(cluster.kubectl(&["exec", "lasting", "--", "true"])?.code == 0, "exec after adoption");
    Ok(())
}
