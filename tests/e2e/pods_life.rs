//! A pod's life: probes, restarts, and a graceful end.

use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::pods::Pods;
use keelson_tests::wait;

const MANIFEST: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: probed}
spec: {selector: {app: probed}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: probed, labels: {app: probed}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "mkdir /pages; touch /pages/live; httpd -f -p 8080 -h /pages"]
    ports: [{name: http, containerPort: 8080}]
    startupProbe: {httpGet: {path: /live, port: http}, periodSeconds: 1, failureThreshold: 30}
    livenessProbe: {httpGet: {path: /live, port: http}, periodSeconds: 1, failureThreshold: 2}
    readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: watched}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "touch /tmp/ready; sleep 3600"]
    livenessProbe: {exec: {command: [test, "!", -f, /tmp/ill]}, periodSeconds: 1, failureThreshold: 1}
    readinessProbe: {exec: {command: [cat, /tmp/ready]}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: polite}
spec:
  terminationGracePeriodSeconds: 20
  volumes: [{name: host, hostPath: {path: HOSTDIR, type: DirectoryOrCreate}}]
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "trap 'echo TERM >> /host/ends; exit 0' TERM; while :; do busybox usleep 50000; done"]
    lifecycle: {preStop: {exec: {command: [sh, -c, "echo preStop >> /host/ends"]}}}
    volumeMounts: [{name: host, mountPath: /host}]
---
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 2
  containers: [{name: main, image: IMAGE, command: [sh, -c, "trap '' TERM; while :; do sleep 1; done"]}]
"#;

#[test]
fn probes_restarts_and_a_graceful_end() -> Result<()> {
    let pods = Pods::start()?;
    let host = pods.cluster.scratch().join("host");
    pods.apply(&MANIFEST.replace("HOSTDIR", &host.display().to_string()))?;
    let restarts = "{.status.containerStatuses[0].restartCount}";

    // Ready by exec; alive until it is ill, then restarted with the event of a failed probe.
    pods.ready("watched")?;
    pods.shell("watched", "rm /tmp/ready")?;
    pods.field_has("pod watched", "{.status.containerStatuses[0].ready}", "false")?;
    let words = "Readiness probe failed: cat: can't open '/tmp/ready': No such file or directory";
    pods.event("watched", "Unhealthy", words)?;
    pods.shell("watched", "touch /tmp/ill")?;
    pods.field_has("pod watched", restarts, "1")?;
    pods.event("watched", "Killing", "Container main failed liveness probe, will be restarted")?;
    pods.ready("watched")?;

    // Ready by HTTP, and only then behind its Service; not any more after an error.
    let slices = "endpointslices -l kubernetes.io/service-name=probed";
    let ready = "{.items[0].endpoints[0].conditions.ready}";
    pods.field_has("pod probed", "{.status.containerStatuses[0].started}", "true")?;
    pods.field_has(slices, ready, "false")?;
    pods.event(
        "probed",
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 404",
    )?;
    pods.shell("probed", "touch /pages/ready")?;
    pods.ready("probed")?;
    pods.field_has(slices, ready, "true")?;
    pods.shell("probed", "rm /pages/live")?;
    pods.field_has("pod probed", restarts, "1")?;
    pods.event(
        "probed",
        "Unhealthy",
        "Liveness probe failed: HTTP probe failed with statuscode: 404",
    )?;

    // preStop, then TERM, then the end, well before the grace is over; the object goes last.
    pods.ready("polite")?;
    pods.cluster.k("delete pod polite --timeout=15s")?;
    ensure!(std::fs::read_to_string(host.join("ends"))? == "preStop\nTERM\n");
    pods.event("polite", "Killing", "Stopping container main")?;

    // Who does not listen is killed after the grace; a second, shorter word is heard, too.
    pods.ready("stubborn")?;
    pods.cluster.k("delete pod stubborn --timeout=15s")?;
    pods.cluster.k("delete pod watched probed --grace-period=0 --force --timeout=20s")?;
    wait::until("the pods' processes to go", Duration::from_secs(20), || {
        let left = std::fs::read_dir(pods.cluster.data_dir().join("node/kubelet/pods"))?.count();
        Ok((left == 0).then_some(()))
    })
}
