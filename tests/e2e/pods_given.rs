//! What a pod is given: volumes, environment, token, limits, confinement; init containers first.

use anyhow::{Result, ensure};
use keelson_tests::pods::Pods;

const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, file.txt: "first\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: given, labels: {app: given}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: host, hostPath: {path: HOSTDIR, type: DirectoryOrCreate}}
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - {name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  initContainers:
  - {name: first, image: IMAGE, command: [sh, -c, "echo one > /disk/f"], volumeMounts: [{name: disk, mountPath: /disk}]}
  - {name: second, image: IMAGE, command: [sh, -c, "echo two >> /disk/f"], volumeMounts: [{name: disk, mountPath: /disk}]}
  containers:
  - name: main
    image: IMAGE
    command: [sleep, "3600"]
    env:
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
    - {name: ABSENT, valueFrom: {configMapKeyRef: {name: none, key: color, optional: true}}}
    - {name: MILLIS, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: BOTH, value: "$(COLOR)-$(PASSWORD)"}
    envFrom: [{configMapRef: {name: settings}, prefix: P_}, {secretRef: {name: keys}}]
    resources: {limits: {cpu: 100m, memory: 32Mi}}
    volumeMounts:
    - {name: disk, mountPath: /disk}
    - {name: memory, mountPath: /memory}
    - {name: host, mountPath: /host}
    - {name: host, mountPath: /host-sub, subPath: sub}
    - {name: settings, mountPath: /settings}
    - {name: keys, mountPath: /keys}
    - {name: about, mountPath: /about}
"#;

#[test]
fn a_pod_gets_its_volumes_environment_and_limits() -> Result<()> {
    let pods = Pods::start()?;
    let host = pods.cluster.scratch().join("host");
    pods.apply(&MANIFEST.replace("HOSTDIR", &host.display().to_string()))?;
    pods.ready("given")?;
    let check = |script: &str, expected: &str| -> Result<()> {
        let got = pods.shell("given", script)?;
        ensure!(got.trim_end() == expected, "{script}: {got:?}, but should be {expected:?}");
        Ok(())
    };

    // Volumes; the init containers ran before, in their order.
    check("cat /disk/f", "one\ntwo")?;
    check("grep -c ' /memory tmpfs .*size=1024k' /proc/mounts", "1")?;
    check("echo from inside > /host/file; mkdir -p /host/sub; echo y > /host-sub/z", "")?;
    ensure!(std::fs::read_to_string(host.join("file"))? == "from inside\n");
    ensure!(std::fs::read_to_string(host.join("sub/z"))? == "y\n");
    check("cat /settings/color /settings/file.txt", "bluefirst")?;
    check("cat /keys/password; stat -L -c %a /keys/password", "s3cret400")?;
    check("cat /about/labels", "app=\"given\"")?;

    // A changed ConfigMap arrives in the volume.
    pods.cluster
        .kubectl(&["patch", "configmap", "settings", "-p", r#"{"data":{"file.txt":"second\n"}}"#])?
        .ok()?;
    let changed = "for i in $(busybox seq 600); do grep -q second /settings/file.txt && break; \
                   busybox usleep 100000; done; cat /settings/file.txt";
    check(changed, "second")?;

    // Environment.
    check("echo $COLOR $PASSWORD $BOTH $P_color $password", "blue s3cret blue-s3cret blue s3cret")?;
    check("echo $MILLIS; test -z \"${ABSENT+set}\" && echo absent", "100\nabsent")?;
    let node = pods.cluster.field("pod given", "{.spec.nodeName} {.status.podIP}")?;
    check("echo $NODE $IP", &node)?;
    let master = pods.cluster.field("service kubernetes", "{.spec.clusterIP}")?;
    check("echo $KUBERNETES_SERVICE_HOST", &master)?;

    // The token is the service account's, for this pod.
    let token = pods.shell("given", "cat /var/run/secrets/kubernetes.io/serviceaccount/token")?;
    let server = format!("https://127.0.0.1:{}", pods.cluster.api_port);
    let ca = pods.cluster.data_dir().join("pki/ca.crt").display().to_string();
    let who = pods.cluster.kubectl(&[
        "--kubeconfig=/dev/null",
        "--server",
        &server,
        "--certificate-authority",
        &ca,
        "--token",
        token.trim(),
        "auth",
        "whoami",
        "-o",
        "json",
    ])?;
    let who = who.ok()?;
    for text in ["system:serviceaccount:default:default", "\"given\""] {
        ensure!(who.contains(text), "{text} is missing in {who}");
    }
    check("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace", "default")?;
    check("grep -c BEGIN /var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "1")?;

    // Limits, seen from inside on v1 and v2; nobody lifts his own.
    let memory = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null";
    check(&format!("{memory} || true"), "33554432")?;
    let cpu = "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu.max 2>/dev/null | head -c 5";
    check(cpu, "10000")?;
    let lift = "cd /sys/fs/cgroup; for f in memory/memory.limit_in_bytes memory.max; do \
                test -f $f && echo 99999999 > $f; done 2>&1; true";
    let refused = pods.shell("given", lift)?;
    ensure!(refused.contains("Read-only file system"), "{refused}");

    // Seccomp filters, few capabilities.
    check("grep Seccomp: /proc/self/status | tail -c 2", "2")?;
    check("grep CapEff /proc/self/status | tail -c 17", "00000000a80425fb")?;
    let mount = pods.shell("given", "mount -t tmpfs none /tmp 2>&1 || true")?;
    ensure!(mount.contains("ermission denied") || mount.contains("not permitted"), "{mount}");
    Ok(())
}
