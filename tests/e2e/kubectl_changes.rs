//! What kubectl changes: apply in its forms, edits, labels, rollouts.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use keelson_tests::table::check;
use keelson_tests::workload::{Images, deployment};
use keelson_tests::{Cluster, Settings};

fn without_agent() -> Result<Cluster> {
    Cluster::start(Settings { no_agent: true, ..Settings::default() })
}

const TWO: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: c, labels: {x: "1", z: "2"}}
data: {a: "1", b: "2"}
"#;
const ONE: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: c, labels: {x: "1"}}
data: {a: "1"}
"#;

#[test]
fn apply_removes_what_it_once_set_and_keeps_what_others_set() -> Result<()> {
    let cluster = without_agent()?;
    ensure!(cluster.apply(TWO)? == "configmap/c created\n");
    cluster.kubectl(&["patch", "configmap", "c", "-p", r#"{"data":{"other":"3"}}"#])?.ok()?;
    let differs = cluster.kubectl_with(&["diff", "-f", "-"], ONE)?;
    ensure!(differs.code == 1, "{} {}", differs.out, differs.err);
    ensure!(
        differs.out.contains("-  b: \"2\"") && differs.out.contains("-    z: \"2\""),
        "{}",
        differs.out
    );
    ensure!(cluster.apply(ONE)? == "configmap/c configured\n");
    ensure!(cluster.field("configmap c", "{.data}")? == r#"{"a":"1","other":"3"}"#);
    ensure!(cluster.field("configmap c", "{.metadata.labels}")? == r#"{"x":"1"}"#);
    ensure!(cluster.apply(ONE)? == "configmap/c unchanged\n");
    let equal = cluster.kubectl_with(&["diff", "-f", "-"], ONE)?;
    ensure!(equal.code == 0 && equal.out.is_empty(), "{}", equal.out);
    Ok(())
}

#[test]
fn server_side_apply_owns_what_it_names_and_refuses_what_others_own() -> Result<()> {
    let cluster = without_agent()?;
    let apply = |arguments: &[&str], manifest: &str| {
        let all = [&["apply", "--server-side", "-f", "-"], arguments].concat();
        cluster.kubectl_with(&all, manifest)
    };
    ensure!(apply(&[], TWO)?.ok()? == "configmap/c serverside-applied\n");
    let other = ["--field-manager=other"];
    let theirs = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {b: \"3\"}\n";
    let refused = apply(&other, theirs)?.failed()?;
    ensure!(
        refused.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.b"),
        "{refused}"
    );
    apply(&["--field-manager=other", "--force-conflicts"], theirs)?.ok()?;
    // Gone: what it named and nobody else owns. Kept: what the other one took over.
    apply(&[], ONE)?.ok()?;
    ensure!(cluster.field("configmap c", "{.data}")? == r#"{"a":"1","b":"3"}"#);
    ensure!(cluster.field("configmap c", "{.metadata.labels}")? == r#"{"x":"1"}"#);
    let version = "{.metadata.resourceVersion}";
    let before = cluster.field("configmap c", version)?;
    apply(&[], ONE)?.ok()?;
    ensure!(cluster.field("configmap c", version)? == before, "an apply of the same was written");
    let shown = cluster.k("get configmap c -o yaml --show-managed-fields")?;
    for text in ["manager: kubectl", "manager: other", "operation: Apply", "f:b: {}"] {
        ensure!(shown.contains(text), "{text} is missing in\n{shown}");
    }
    ensure!(!cluster.k("get configmap c -o yaml")?.contains("managedFields"));

    // What client-side apply made goes over to server-side apply.
    let moved = TWO.replace("name: c", "name: moved");
    cluster.apply(&moved)?;
    apply(&[], &moved.replace("b: \"2\"", "b: \"5\""))?.ok()?;
    apply(&[], &ONE.replace("name: c", "name: moved"))?.ok()?;
    ensure!(cluster.field("configmap moved", "{.data}")? == r#"{"a":"1"}"#);
    Ok(())
}

#[test]
fn edit_writes_what_the_editor_wrote() -> Result<()> {
    let cluster = without_agent()?;
    cluster.apply(ONE)?;
    let editor = cluster.scratch().join("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/a: \"1\"/a: \"9\"/' \"$1\"\n")?;
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755))?;
    let mut command = cluster.kubectl_command(&["edit", "configmap", "c"]);
    command.env("EDITOR", &editor);
    let edited = keelson_tests::run(command, None, std::time::Duration::from_secs(60))?.ok()?;
    ensure!(edited == "configmap/c edited\n", "{edited}");
    ensure!(cluster.field("configmap c", "{.data.a}")? == "9");
    Ok(())
}

#[test]
fn labels_annotations_and_patches() -> Result<()> {
    let cluster = without_agent()?;
    cluster.apply(&deployment("example.test/web:1", 2))?;
    ensure!(cluster.k("label deployment web tier=front")? == "deployment.apps/web labeled\n");
    let taken = cluster.kubectl(&["label", "deployment", "web", "tier=back"])?.failed()?;
    ensure!(
        taken.contains("'tier' already has a value (front), and --overwrite is false"),
        "{taken}"
    );
    cluster.k("label deployment web tier=back --overwrite")?;
    ensure!(cluster.field("deployment web", "{.metadata.labels.tier}")? == "back");
    ensure!(cluster.k("label deployment web tier-")? == "deployment.apps/web unlabeled\n");
    ensure!(cluster.k("annotate deployment web note=x")? == "deployment.apps/web annotated\n");

    let patch = |kind: &str, text: &str| {
        cluster.kubectl(&["patch", "deployment", "web", "--type", kind, "-p", text])
    };
    patch("merge", r#"{"metadata":{"annotations":{"note":null}}}"#)?.ok()?;
    ensure!(cluster.field("deployment web", "{.metadata.annotations.note}")?.is_empty());
    patch("json", r#"[{"op":"replace","path":"/spec/replicas","value":4}]"#)?.ok()?;
    patch("strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}"#)?.ok()?;
    let container = cluster.field(
        "deployment web",
        "{.spec.template.spec.containers[*].image} {.spec.template.spec.containers[*].env[0].name}",
    )?;
    ensure!(container == "example.test/web:1 A", "{container}");
    let test = patch("json", r#"[{"op":"test","path":"/spec/replicas","value":7}]"#)?.failed()?;
    ensure!(test.contains("The request is invalid"), "{test}");
    let bad = patch("json", r#"{"op":"add"}"#)?.failed()?;
    ensure!(!bad.contains("panic") && bad.contains("rror"), "{bad}");

    ensure!(cluster.k("scale deployment web --replicas=3")? == "deployment.apps/web scaled\n");
    let precondition =
        cluster.kubectl(&["scale", "deployment", "web", "--replicas=1", "--current-replicas=9"])?;
    ensure!(precondition.failed()?.contains("Expected replicas to be 9, was 3"));
    cluster
        .kubectl(&[
            "patch",
            "deployment",
            "web",
            "--subresource=scale",
            "--type=merge",
            "-p",
            r#"{"spec":{"replicas":5}}"#,
        ])?
        .ok()?;
    ensure!(cluster.field("deployment web", "{.spec.replicas}")? == "5");
    Ok(())
}

#[test]
fn rollouts_are_listed_undone_and_restarted() -> Result<()> {
    let images = Images::serve()?;
    let cluster = Cluster::start(Settings::default())?;
    cluster.node_ready()?;
    cluster.apply(&deployment(&images.web(1), 1))?;
    let done = |what: &str| -> Result<()> {
        let said = cluster.k("rollout status deployment/web --timeout=80s")?;
        ensure!(said.ends_with("deployment \"web\" successfully rolled out\n"), "{what}: {said}");
        Ok(())
    };
    done("first")?;
    cluster.k(&format!("set image deployment/web web={}", images.web(2)))?;
    cluster.k("annotate deployment/web kubernetes.io/change-cause=second")?;
    done("second")?;
    check(
        cluster.k("rollout history deployment/web")?.trim_start_matches("deployment.apps/web \n"),
        &[&["REVISION", "CHANGE-CAUSE"], &["1", "<none>"], &["2", "second"]],
    )?;
    let second = cluster.k("rollout history deployment/web --revision=2")?;
    ensure!(second.contains(&images.web(2)), "{second}");
    ensure!(cluster.k("rollout undo deployment/web")? == "deployment.apps/web rolled back\n");
    done("undo")?;
    let image = "{.spec.template.spec.containers[0].image}";
    ensure!(cluster.field("deployment web", image)? == images.web(1));
    cluster.k("rollout restart deployment/web")?;
    done("restart")?;
    cluster.k("rollout pause deployment/web")?;
    ensure!(cluster.field("deployment web", "{.spec.paused}")? == "true");
    cluster.k("rollout resume deployment/web")?;
    cluster.k("rollout undo deployment/web --to-revision=2")?;
    done("undo to a revision")?;
    ensure!(cluster.field("deployment web", image)? == images.web(2));
    let pods = cluster.field("pods -l app=web", "{.items[*].spec.containers[*].image}")?;
    ensure!(pods.contains(&images.web(2)), "{pods}");
    Ok(())
}
