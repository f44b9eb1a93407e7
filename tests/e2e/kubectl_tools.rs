//! What else people do with kubectl and helm: permissions, tokens, run, expose, wait, charts.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::table::check;
use keelson_tests::workload::{Images, pod};
use keelson_tests::{Cluster, Settings};

#[test]
fn permissions_can_be_asked_for_and_tokens_carry_them() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    let user = "--as=system:serviceaccount:default:reader";
    ensure!(cluster.k("auth can-i create pods")? == "yes\n");
    let no = cluster.kubectl(&["auth", "can-i", "list", "pods", user])?;
    ensure!(no.code == 1 && no.out == "no\n", "{} {}", no.out, no.err);
    cluster.k("create serviceaccount reader")?;
    cluster.k("create role reads --verb=get,list --resource=pods")?;
    cluster.k("create rolebinding reads --role=reads --serviceaccount=default:reader")?;
    ensure!(cluster.kubectl(&["auth", "can-i", "list", "pods", user])?.ok()? == "yes\n");
    let listed = cluster.kubectl(&["auth", "can-i", "--list", user])?.ok()?;
    ensure!(
        listed.lines().any(|l| l.starts_with("pods ") && l.ends_with("[get list]")),
        "{listed}"
    );
    let me = cluster.k("auth whoami")?;
    ensure!(me.contains("kubernetes-admin"), "{me}");

    let token = cluster.k("create token reader --duration=10m")?;
    // A kubeconfig of its own: a client certificate would come first.
    let server = format!("https://127.0.0.1:{}", cluster.api_port);
    let bare = cluster.scratch().join("empty.kubeconfig");
    std::fs::write(&bare, "")?;
    let bare = bare.display().to_string();
    let with_token = |arguments: &[&str]| {
        let mut all = vec![
            "--kubeconfig",
            &bare,
            "--server",
            &server,
            "--insecure-skip-tls-verify",
            "--token",
            token.trim(),
        ];
        all.extend(arguments);
        cluster.kubectl(&all)
    };
    with_token(&["get", "pods"])?.ok()?;
    let refused = with_token(&["get", "secrets"])?.failed()?;
    let words = "secrets is forbidden: User \"system:serviceaccount:default:reader\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\"";
    ensure!(refused.contains(words), "{refused}");
    Ok(())
}

#[test]
fn run_expose_and_wait() -> Result<()> {
    let images = Images::serve()?;
    let cluster = Cluster::start(Settings::default())?;
    cluster.node_ready()?;
    let image = format!("--image={}", images.web(1));
    cluster.kubectl(&["run", "once", &image, "--restart=Never", "--", "sleep", "1000"])?.ok()?;
    ensure!(
        cluster.k("wait --for=condition=Ready pod/once --timeout=60s")?
            == "pod/once condition met\n"
    );
    cluster.k("wait --for=jsonpath={.status.phase}=Running pod/once --timeout=20s")?;
    ensure!(cluster.k("expose pod once --port=80 --target-port=8080")? == "service/once exposed\n");
    cluster.k("expose pod once --port=81 --name=outside --type=NodePort")?;
    check(
        &cluster.k("get services once outside")?,
        &[
            &["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"],
            &["once", "ClusterIP", "10.*", "<none>", "80/TCP", "<age>"],
            &["outside", "NodePort", "10.*", "<none>", "81:3*", "<age>"],
        ],
    )?;
    let late =
        cluster.kubectl(&["wait", "--for=delete", "pod/once", "--timeout=100ms"])?.failed()?;
    ensure!(late.contains("timed out waiting for the condition on pods/once"), "{late}");
    let events = cluster.k("get events --field-selector reason=Started -o name")?;
    ensure!(events.lines().count() == 1, "{events}");
    cluster.k("delete pod once --grace-period=1 --wait=false")?;
    cluster.k("wait --for=delete pod/once --timeout=60s")?;
    cluster.apply(&pod("again", &images.web(1), "exit 4"))?;
    cluster.k("wait --for=jsonpath={.status.phase}=Failed pod/again --timeout=60s")?;
    let code = "{.status.containerStatuses[0].state.terminated.exitCode}";
    ensure!(cluster.field("pod again", code)? == "4");
    Ok(())
}

const CHART: [(&str, &str); 3] = [
    ("Chart.yaml", "apiVersion: v2\nname: small\nversion: 0.1.0\n"),
    ("values.yaml", "image: none\ndata: {tag: first, extra: yes-please}\n"),
    (
        "templates/all.yaml",
        r#"apiVersion: v1
kind: ServiceAccount
metadata: {name: "{{ .Release.Name }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}"}
data: {{ .Values.data | toJson }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}"}
spec:
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec:
      serviceAccountName: "{{ .Release.Name }}"
      terminationGracePeriodSeconds: 1
      containers:
      - {name: web, image: "{{ .Values.image }}", command: [sleep, "1000"]}
"#,
    ),
];

#[test]
fn helm_installs_upgrades_rolls_back_and_uninstalls() -> Result<()> {
    let images = Images::serve()?;
    let cluster = Cluster::start(Settings::default())?;
    cluster.node_ready()?;
    let chart = cluster.scratch().join("chart");
    std::fs::create_dir_all(chart.join("templates"))?;
    for (name, text) in CHART {
        std::fs::write(chart.join(name), text)?;
    }
    let chart = chart.display().to_string();
    let helm = |arguments: &[&str]| {
        let program = std::env::var_os("KEELSON_HELM").unwrap_or_else(|| "helm".into());
        let mut command = Command::new(program);
        command.env("KUBECONFIG", cluster.kubeconfig()).env("HOME", cluster.scratch());
        command.args(arguments);
        keelson_tests::run(command, None, Duration::from_secs(120))?.ok()
    };
    let image = format!("image={}", images.web(1));
    let waits = ["--wait", "--timeout", "80s"];
    helm(&[&["install", "small", &chart, "--set", &image][..], &waits].concat())?;
    let data = || cluster.field("configmap small", "{.data}");
    ensure!(data()? == r#"{"extra":"yes-please","tag":"first"}"#, "{}", data()?);
    ensure!(cluster.field("deployment small", "{.status.readyReplicas}")? == "1");

    let image = format!("image={}", images.web(2));
    let second = ["--set", &image, "--set", "data.tag=second", "--set", "data.extra=null"];
    helm(&[&["upgrade", "small", &chart][..], &second, &waits].concat())?;
    ensure!(data()? == r#"{"tag":"second"}"#, "{}", data()?);
    let listed = helm(&["list", "--no-headers"])?;
    ensure!(listed.contains("deployed") && listed.contains("small-0.1.0"), "{listed}");

    helm(&[&["rollback", "small", "1"][..], &waits].concat())?;
    ensure!(data()? == r#"{"extra":"yes-please","tag":"first"}"#, "{}", data()?);
    let path = "{.spec.template.spec.containers[0].image}";
    ensure!(cluster.field("deployment small", path)? == images.web(1));

    helm(&[&["uninstall", "small"][..], &waits].concat())?;
    ensure!(
        cluster.k("get deployment,serviceaccount small --ignore-not-found -o name")?.is_empty()
    );
    Ok(())
}
