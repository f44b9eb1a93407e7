//! What users get wrong, and the words they are told so in.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use keelson_client::Store as _;
use keelson_proto::etcdserverpb as pb;
use keelson_tests::{Cluster, Members, Settings};

#[test]
fn the_api_server_names_what_is_wrong() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    cluster.k("create configmap known --from-literal=a=b")?;
    let create = |manifest: &str| cluster.kubectl_with(&["create", "-f", "-"], manifest)?.failed();

    let unknown = create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndatta: {a: b}\n")?;
    ensure!(unknown.contains("strict decoding error: unknown field \"datta\""), "{unknown}");
    let wrong_type = create(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: many}\n",
    )?;
    ensure!(wrong_type.contains("replicas") && wrong_type.contains("BadRequest"), "{wrong_type}");
    let invalid = create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NOT_A_NAME}\n")?;
    ensure!(
        invalid.contains("The ConfigMap \"NOT_A_NAME\" is invalid: metadata.name: Invalid value"),
        "{invalid}"
    );
    let malformed = create("apiVersion: v1\nkind: [\n")?;
    ensure!(malformed.contains("error"), "{malformed}");
    let exists = cluster.kubectl(&["create", "configmap", "known"])?.failed()?;
    ensure!(exists.contains("configmaps \"known\" already exists"), "{exists}");
    let missing = cluster.kubectl(&["get", "configmap", "absent"])?.failed()?;
    ensure!(missing.contains("configmaps \"absent\" not found"), "{missing}");
    let selector = cluster.kubectl(&["get", "pods", "-l", "a in (b"])?.failed()?;
    ensure!(selector.contains("unable to parse requirement"), "{selector}");
    let field =
        cluster.kubectl(&["get", "pods", "--field-selector", "spec.color=red"])?.failed()?;
    ensure!(field.contains("field label not supported: spec.color"), "{field}");

    // A stale resourceVersion.
    let stale = cluster.k("get configmap known -o json")?;
    cluster.k("label configmap known touched=yes")?;
    let conflict = cluster.kubectl_with(&["replace", "-f", "-"], &stale)?.failed()?;
    ensure!(conflict.contains("the object has been modified"), "{conflict}");
    ensure!(cluster.field("configmap known", "{.metadata.labels.touched}")? == "yes");

    // Three MiB and more.
    let large = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"large\"}},\"data\":{{\"a\":\"{}\"}}}}",
        "x".repeat(3 * 1024 * 1024)
    );
    let error = create(&large)?;
    ensure!(error.to_lowercase().contains("too large") || error.contains("Too long"), "{error}");
    ensure!(cluster.kubectl(&["get", "configmap", "large"])?.code != 0, "it was stored");

    // Whoever is not known is not let in.
    let stranger = cluster.scratch().join("stranger.kubeconfig");
    let text: String = std::fs::read_to_string(cluster.kubeconfig())?
        .lines()
        .filter(|line| !line.contains("client-key-data"))
        .map(|line| match line.contains("client-certificate-data") {
            true => "    token: nonsense\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&stranger, text)?;
    let path = stranger.display().to_string();
    let refused = cluster.kubectl(&["--kubeconfig", &path, "get", "pods"])?.failed()?;
    ensure!(refused.contains("Unauthorized") || refused.contains("must be logged in"), "{refused}");
    Ok(())
}

/// Kind, the rest of the manifest, what kubectl prints.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "v1/Pod",
        r#""spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":70000}]}]}"#,
        "The Pod \"x\" is invalid: spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    (
        "v1/Pod",
        r#""spec":{"containers":[{"name":"c","image":"i","volumeMounts":[{"name":"v","mountPath":"/v"}]}]}"#,
        "The Pod \"x\" is invalid: spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
    ),
    (
        "v1/Pod",
        r#""spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"lots"}}}]}"#,
        "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the regular expression",
    ),
    (
        "v1/Pod",
        r#""spec":{"restartPolicy":"Sometimes","containers":[{"name":"c","image":"i"}]}"#,
        "The Pod \"x\" is invalid: spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
    ),
    (
        "v1/Pod",
        r#""spec":{"containers":[{"name":"c"}]}"#,
        "The Pod \"x\" is invalid: spec.containers[0].image: Required value",
    ),
    (
        "apps/v1/Deployment",
        r#""spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"c"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}"#,
        "The Deployment \"x\" is invalid: spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`",
    ),
    (
        "v1/Service",
        r#""spec":{"clusterIP":"1.2.3.4","ports":[{"port":1}]}"#,
        "The Service \"x\" is invalid: spec.clusterIPs: Invalid value: [\"1.2.3.4\"]: failed to allocate IP 1.2.3.4: the provided IP (1.2.3.4) is not in the valid range.",
    ),
    (
        "v1/Secret",
        r#""data":{"a":"!!"}"#,
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0",
    ),
    (
        "rbac.authorization.k8s.io/v1/RoleBinding",
        r#""roleRef":{"kind":"Foo","name":"y"}"#,
        "The RoleBinding \"x\" is invalid: roleRef.kind: Unsupported value: \"Foo\": supported values: \"Role\", \"ClusterRole\"",
    ),
    (
        "batch/v1/Job",
        r#""spec":{"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}"#,
        "The Job \"x\" is invalid: spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
    ),
    ("v1/Foo", "", "no matches for kind \"Foo\" in version \"v1\""),
];

#[test]
fn a_manifest_is_refused_by_its_field() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    for (kind, rest, words) in REFUSED {
        let (version, kind) = kind.rsplit_once('/').context("a version and a kind")?;
        let comma = if rest.is_empty() { "" } else { "," };
        let manifest = format!(
            r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{{"name":"x"}}{comma}{rest}}}"#
        );
        let refused = cluster.kubectl_with(&["create", "-f", "-"], &manifest)?.failed()?;
        ensure!(refused.contains(words), "{manifest}: {refused}");
    }
    // What cannot change says so.
    cluster.apply(&keelson_tests::workload::deployment("i", 1))?;
    let change = r#"{"spec":{"selector":{"matchLabels":{"x":"y"}}}}"#;
    let refused = cluster.kubectl(&["patch", "deployment", "web", "--type=merge", "-p", change])?;
    let refused = refused.failed()?;
    ensure!(refused.contains("The Deployment \"web\" is invalid"), "{refused}");
    ensure!(refused.contains("field is immutable"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_damaged_in_the_middle_is_refused_by_name() -> Result<()> {
    let mut members = Members::start(1).await?;
    let store = members.client(0)?;
    for number in 0..500 {
        let key = format!("key-{number}").into();
        let request = pb::PutRequest { key, value: vec![b'v'; 300].into(), ..Default::default() };
        store.put(request).await?;
    }
    members.kill_9(0)?;
    let wal = find_log(&members.data_dir(0)).context("a log segment")?;
    let file = OpenOptions::new().read(true).write(true).open(&wal)?;
    let mut byte = [0; 1];
    file.read_exact_at(&mut byte, 60_000)?;
    file.write_all_at(&[byte[0] ^ 0x55], 60_000)?;
    drop(file);

    members.start_one(0)?;
    let code = members.ended(0)?;
    ensure!(code == 1, "exit code {code}");
    let log = std::fs::read_to_string(members.log(0))?;
    let name = wal.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ensure!(log.contains(&name) && log.contains("offset"), "{log}");
    Ok(())
}

/// The largest segment of a member's log.
fn find_log(dir: &std::path::Path) -> Option<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "wal") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.into_iter().next()
}
