//! Why a pod does not run, or ran: the reasons, messages and events that users of Kubernetes know.

use anyhow::{Result, ensure};
use keelson_tests::pods::Pods;

/// A pod with one container; `container` is what follows the image in its map.
fn pod(name: &str, image: &str, spec: &str, container: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  {spec}
  containers: [{{name: main, image: "{image}"{container}}}]
---
"#
    )
}

const WAITING: &str = "{.status.containerStatuses[0].state.waiting}";
const LAST: &str = "{.status.containerStatuses[0].lastState.terminated}";
const STATE: &str = "{.status.containerStatuses[0].state.terminated}";

#[test]
fn reasons_messages_and_events_are_those_of_kubernetes() -> Result<()> {
    let pods = Pods::start()?;
    let missing = pods.registry.reference("no/such", "1");
    let never = "restartPolicy: Never";
    let shell = |script: &str| format!(", command: [sh, -c, {script:?}]");
    let manifest = [
        pod("no-image", &missing, "", ""),
        pod("bad-name", "Bad//Name:1", "", ""),
        pod("never-pulled", &missing, "", ", imagePullPolicy: Never"),
        pod(
            "no-config",
            "IMAGE",
            "",
            ", env: [{name: X, valueFrom: {configMapKeyRef: {name: absent, key: a}}}]",
        ),
        pod(
            "no-key",
            "IMAGE",
            "",
            ", env: [{name: X, valueFrom: {configMapKeyRef: {name: kube-root-ca.crt, key: a}}}]",
        ),
        pod(
            "no-volume",
            "IMAGE",
            "volumes: [{name: v, secret: {secretName: absent}}]",
            ", volumeMounts: [{name: v, mountPath: /v}]",
        ),
        pod("no-command", "IMAGE", "", ", command: [no-such-command]"),
        pod("crashes", "IMAGE", "", &shell("echo last words > /dev/termination-log; exit 3")),
        pod(
            "too-big",
            "IMAGE",
            never,
            &format!(
                "{}, resources: {{limits: {{memory: 16Mi}}}}",
                shell("dd if=/dev/zero of=/dev/null bs=200M count=1")
            ),
        ),
        pod("done", "IMAGE", never, &shell("exit 0")),
        pod("failed", "IMAGE", never, &shell("exit 4")),
    ]
    .concat();
    pods.apply(&manifest)?;

    // Images.
    pods.shows("pod no-image", "ImagePullBackOff")?;
    let resolve = format!("failed to resolve reference \"{missing}\": {missing}: not found");
    let message = pods.field_has("pod no-image", WAITING, "Back-off pulling image")?;
    ensure!(message.contains("ErrImagePull: rpc error: code = NotFound"), "{message}");
    let pull = format!("Failed to pull image \"{missing}\": rpc error: code = NotFound desc = ");
    ensure!(pods.event("no-image", "Failed", &pull)?.contains(&resolve), "{resolve}");
    pods.event("no-image", "Failed", "Error: ErrImagePull")?;
    pods.event("no-image", "Failed", "Error: ImagePullBackOff")?;
    pods.event("no-image", "BackOff", &format!("Back-off pulling image \"{missing}\""))?;
    pods.shows("pod bad-name", "InvalidImageName")?;
    pods.event("bad-name", "InspectFailed", "Failed to apply default image tag \"Bad//Name:1\"")?;
    pods.shows("pod never-pulled", "ErrImageNeverPull")?;
    pods.event("never-pulled", "ErrImageNeverPull", "is not present with pull policy of Never")?;

    // Configuration and volumes.
    pods.shows("pod no-config", "CreateContainerConfigError")?;
    pods.field_has("pod no-config", WAITING, "configmap \\\"absent\\\" not found")?;
    pods.event("no-config", "Failed", "Error: configmap \"absent\" not found")?;
    pods.event("no-key", "Failed", "couldn't find key a in ConfigMap default/kube-root-ca.crt")?;
    pods.shows("pod no-volume", "ContainerCreating")?;
    let mount = "MountVolume.SetUp failed for volume \"v\" : secret \"absent\" not found";
    pods.event("no-volume", "FailedMount", mount)?;

    // Commands.
    pods.field_has("pod no-command", LAST, "StartError")?;
    let last = pods.cluster.field("pod no-command", LAST)?;
    let absent = "exec: \\\"no-such-command\\\": executable file not found in $PATH";
    ensure!(last.contains(absent) && last.contains("\"exitCode\":128"), "{last}");
    pods.event("no-command", "Failed", "exec: \"no-such-command\": executable file not found")?;
    pods.shows("pod crashes", "CrashLoopBackOff")?;
    let waiting = pods.field_has("pod crashes", WAITING, "back-off ")?;
    ensure!(waiting.contains("restarting failed container=main pod=crashes_default("), "{waiting}");
    let last = pods.field_has("pod crashes", LAST, "last words")?;
    ensure!(last.contains("\"exitCode\":3") && last.contains("\"reason\":\"Error\""), "{last}");
    let back_off = "Back-off restarting failed container main in pod crashes_default(";
    pods.event("crashes", "BackOff", back_off)?;

    // Ends.
    pods.shows("pod too-big", "OOMKilled")?;
    let state = pods.field_has("pod too-big", STATE, "OOMKilled")?;
    ensure!(state.contains("\"exitCode\":137"), "{state}");
    pods.shows("pod done", "Completed")?;
    pods.field_has("pod done", "{.status.phase}", "Succeeded")?;
    pods.shows("pod failed", "Error")?;
    pods.field_has("pod failed", "{.status.phase}", "Failed")?;

    // What was missing comes: the pods go on.
    pods.cluster.k("create configmap absent --from-literal=a=1")?;
    pods.cluster.k("create secret generic absent --from-literal=a=1")?;
    pods.event("no-config", "Started", "Container started")?;
    pods.event("no-volume", "Started", "Container started")?;
    Ok(())
}
