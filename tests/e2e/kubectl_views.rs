//! What kubectl shows: tables as Kubernetes prints them, descriptions, watches, output formats.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::table::{cells, check};
use keelson_tests::workload::{Images, SERVICE, deployment, pod};
use keelson_tests::{Cluster, Settings, wait};

#[test]
fn tables_are_printed_as_kubernetes_prints_them() -> Result<()> {
    let images = Images::serve()?;
    let image = images.web(1);
    let cluster = Cluster::start(Settings::default())?;
    cluster.node_ready()?;
    cluster.apply(&format!("{}---\n{SERVICE}", deployment(&image, 1)))?;
    cluster.k("rollout status deployment/web --timeout=80s")?;

    let version = "v1.36.3+keelson";
    check(
        &cluster.k("get nodes")?,
        &[
            &["NAME", "STATUS", "ROLES", "AGE", "VERSION"],
            &["node-*", "Ready", "<none>", "<age>", version],
        ],
    )?;
    let wide = cluster.k("get nodes -o wide")?;
    let heads = [
        "NAME",
        "STATUS",
        "ROLES",
        "AGE",
        "VERSION",
        "INTERNAL-IP",
        "EXTERNAL-IP",
        "OS-IMAGE",
        "KERNEL-VERSION",
        "CONTAINER-RUNTIME",
    ];
    ensure!(cells(&wide)[0] == heads, "{wide}");
    check(
        &cluster.k("get deployments -o wide")?,
        &[
            &[
                "NAME",
                "READY",
                "UP-TO-DATE",
                "AVAILABLE",
                "AGE",
                "CONTAINERS",
                "IMAGES",
                "SELECTOR",
            ],
            &["web", "1/1", "1", "1", "<age>", "web", &image, "app=web"],
        ],
    )?;
    check(
        &cluster.k("get replicasets -o wide")?,
        &[
            &["NAME", "DESIRED", "CURRENT", "READY", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"],
            &["web-*", "1", "1", "1", "<age>", "web", &image, "app=web,pod-template-hash=*"],
        ],
    )?;
    let node = cluster.field("nodes", "{.items[0].metadata.name}")?;
    check(
        &cluster.k("get pods -o wide")?,
        &[
            &[
                "NAME",
                "READY",
                "STATUS",
                "RESTARTS",
                "AGE",
                "IP",
                "NODE",
                "NOMINATED NODE",
                "READINESS GATES",
            ],
            &["web-*", "1/1", "Running", "0", "<age>", "10.*", &node, "<none>", "<none>"],
        ],
    )?;
    check(
        &cluster.k("get services -o wide")?,
        &[
            &["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"],
            &["kubernetes", "ClusterIP", "10.*", "<none>", "443/TCP", "<age>", "<none>"],
            &["web", "ClusterIP", "10.*", "<none>", "80/TCP", "<age>", "app=web"],
        ],
    )?;
    check(
        &cluster.k("get namespaces")?,
        &[
            &["NAME", "STATUS", "AGE"],
            &["default", "Active", "<age>"],
            &["kube-node-lease", "Active", "<age>"],
            &["kube-public", "Active", "<age>"],
            &["kube-system", "Active", "<age>"],
        ],
    )?;
    check(
        &cluster.k("get deployments,services -l app=web")?,
        &[
            &["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"],
            &["deployment.apps/web", "1/1", "1", "1", "<age>"],
        ],
    )?;
    check(
        &cluster.k("get pods -A -L app --show-labels -l app=web")?,
        &[
            &["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "APP", "LABELS"],
            &["default", "web-*", "1/1", "Running", "0", "<age>", "web", "app=web,pod-*"],
        ],
    )?;
    let none = cluster.kubectl(&["get", "pods", "-n", "kube-public"])?;
    ensure!(none.err == "No resources found in kube-public namespace.\n", "{}", none.err);
    describe(&cluster, &node)
}

/// `kubectl describe` of each main kind, with its events.
fn describe(cluster: &Cluster, node: &str) -> Result<()> {
    let pod = cluster.field("pods", "{.items[0].metadata.name}")?;
    for (what, wanted) in [
        (format!("pod {pod}"), "Successfully assigned default/"),
        (format!("pod {pod}"), "Container started"),
        (format!("pod {pod}"), "Controlled By:  ReplicaSet/web-"),
        ("deployment web".to_owned(), "Scaled up replica set web-"),
        ("deployment web".to_owned(), "1 desired | 1 updated | 1 total | 1 available"),
        ("replicaset".to_owned(), "Created pod: web-"),
        ("service web".to_owned(), "TargetPort:               http/TCP"),
        ("endpointslice".to_owned(), "TargetRef:  Pod/web-"),
        (format!("node {node}"), "NodeReady"),
        (format!("node {node}"), "Allocated resources:"),
        ("namespace default".to_owned(), "Status:       Active"),
        ("serviceaccount default".to_owned(), "Namespace:           default"),
        ("configmap kube-root-ca.crt".to_owned(), "-----BEGIN CERTIFICATE-----"),
        ("clusterrole view".to_owned(), "PolicyRule:"),
        ("lease -n kube-node-lease".to_owned(), "Holder Identity:"),
    ] {
        let text = cluster.k(&format!("describe {what}"))?;
        ensure!(text.contains(wanted), "{wanted:?} is missing in describe {what}:\n{text}");
    }
    Ok(())
}

#[test]
fn a_watch_shows_each_change_once_and_in_order() -> Result<()> {
    let images = Images::serve()?;
    let cluster = Cluster::start(Settings::default())?;
    cluster.node_ready()?;
    let seen = cluster.scratch().join("watch");
    let file = std::fs::File::create(&seen)?;
    let mut watch = cluster
        .kubectl_command(&["get", "pods", "-w", "--output-watch-events", "--no-headers"])
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()?;
    cluster.apply(&pod("short", &images.web(1), "echo done"))?;
    cluster.k("wait --for=jsonpath={.status.phase}=Succeeded pod/short --timeout=60s")?;
    cluster.k("delete pod short --timeout=60s")?;
    let text = wait::until("the end of the pod in the watch", Duration::from_secs(30), || {
        let text = std::fs::read_to_string(&seen)?;
        Ok(text.contains("DELETED").then_some(text))
    });
    watch.kill()?;
    watch.wait()?;
    let text = text?;
    let rows: Vec<(&str, &str)> = text
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[0], words[3])
        })
        .collect();
    ensure!(rows.iter().filter(|(event, _)| *event == "ADDED").count() == 1, "{text}");
    ensure!(rows[0] == ("ADDED", "Pending"), "{text}");
    ensure!(rows.last() == Some(&("DELETED", "Completed")), "{text}");
    let mut states: Vec<&str> = rows.iter().map(|(_, state)| *state).collect();
    states.dedup();
    // A short command may have ended before it was seen running.
    states.retain(|state| *state != "Running");
    ensure!(states == ["Pending", "ContainerCreating", "Completed"], "{text}");
    Ok(())
}

#[test]
fn outputs_and_selectors_say_the_same() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    for (name, color) in [("a", "red"), ("b", "green"), ("c", "red")] {
        cluster.k(&format!("create configmap {name} --from-literal=k={name}"))?;
        cluster.k(&format!("label configmap {name} color={color}"))?;
    }
    let expect = |arguments: &[&str], wanted: &str| -> Result<()> {
        let text = cluster.kubectl(arguments)?.ok()?;
        ensure!(text == wanted, "kubectl {arguments:?} printed {text:?}");
        Ok(())
    };
    expect(&["get", "cm", "-l", "color", "-o", "name"], "configmap/a\nconfigmap/b\nconfigmap/c\n")?;
    expect(&["get", "cm", "-l", "color=red", "-o", "name"], "configmap/a\nconfigmap/c\n")?;
    expect(&["get", "cm", "-l", "color notin (red),color", "-o", "name"], "configmap/b\n")?;
    expect(&["get", "cm", "-l", "color!=red,color", "-o", "name"], "configmap/b\n")?;
    expect(&["get", "cm", "--field-selector", "metadata.name=b", "-o", "name"], "configmap/b\n")?;
    let columns = "custom-columns=N:.metadata.name,V:.data.k";
    expect(&["get", "cm", "-l", "color=red", "-o", columns], "N     V\na     a\nc     c\n")?;
    let each = "jsonpath={range .items[*]}{.metadata.name}={.data.k};{end}";
    expect(&["get", "cm", "-l", "color", "-o", each], "a=a;b=b;c=c;")?;
    let template = "go-template={{range .items}}{{.metadata.name}}{{end}}";
    expect(&["get", "cm", "-l", "color", "-o", template], "abc")?;
    // In pieces of one object, the list is the same.
    expect(
        &["get", "cm", "-l", "color", "--chunk-size=1", "-o", "name"],
        "configmap/a\nconfigmap/b\nconfigmap/c\n",
    )?;
    expect(
        &["get", "cm", "-l", "color", "--sort-by={.metadata.labels.color}", "-o", "name"],
        "configmap/b\nconfigmap/a\nconfigmap/c\n",
    )?;
    let yaml = cluster.k("get configmap a -o yaml")?;
    ensure!(yaml.starts_with("apiVersion: v1\ndata:\n  k: a\nkind: ConfigMap\n"), "{yaml}");
    Ok(())
}

#[test]
fn kubectl_learns_what_the_server_has() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    let all = cluster.k("api-resources --no-headers")?;
    for line in [
        "pods po v1 true Pod",
        "deployments deploy apps/v1 true Deployment",
        "nodes no v1 false Node",
        "endpointslices discovery.k8s.io/v1 true EndpointSlice",
        "horizontalpodautoscalers hpa autoscaling/v2 true HorizontalPodAutoscaler",
    ] {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        ensure!(all.lines().any(|l| words(l) == words(line)), "{line} is missing in\n{all}");
    }
    let versions = cluster.k("api-versions")?;
    ensure!(versions.contains("apps/v1\n") && versions.ends_with("v1\n"), "{versions}");
    let field = cluster.k("explain deployment.spec.replicas")?;
    ensure!(
        field.starts_with("GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n"),
        "{field}"
    );
    ensure!(field.contains("FIELD: replicas <integer>"), "{field}");
    let tree = cluster.k("explain pod.spec --recursive")?;
    for text in ["containers\t<[]Container> -required-", "  livenessProbe\t<Probe>"] {
        ensure!(tree.contains(text), "{text} is missing in\n{tree}");
    }
    let unknown = cluster.kubectl(&["explain", "pod.spec.colour"])?.failed()?;
    ensure!(unknown.contains("field \"colour\" does not exist"), "{unknown}");
    // There is no metrics API: the words are those of any cluster without one.
    let top = cluster.kubectl(&["top", "nodes"])?.failed()?;
    ensure!(top.contains("Metrics API not available"), "{top}");
    Ok(())
}
