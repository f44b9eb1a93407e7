//! Flags, environment and file of `keelson store`: what they do, and how a wrong one ends.

use anyhow::{Context as _, Result, ensure};
use keelson_tests::store::{Alone, StoreProcess, curl, run_as};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn a_wrong_start_ends_as_etcds() -> Result<()> {
    for name in ["keelson", "etcd"] {
        let run = |arguments: &[&str], variables: &[(&str, &str)]| {
            let store = if name == "keelson" { &["store"][..] } else { &[] };
            run_as(name, &[store, arguments].concat(), variables)
        };
        let ended = run(&["--nobody"], &[])?;
        ensure!(ended.code == 2, "{ended:?}");
        ensure!(
            ended.err.starts_with("flag provided but not defined: -nobody\nUsage:"),
            "{ended:?}"
        );
        let ended = run(&["-max-txn-ops=x"], &[])?;
        let expected = "invalid value \"x\" for flag -max-txn-ops: parse error";
        ensure!(ended.code == 2 && ended.err.starts_with(expected), "{ended:?}");
        let ended = run(&["--version"], &[])?;
        ensure!(ended.code == 0 && ended.out.starts_with("etcd Version: 3.7.1\n"), "{ended:?}");
        ensure!(run(&["--help"], &[])?.code == 0);

        let fails = |arguments: &[&str], variables: &[(&str, &str)], expected: &str| {
            let ended = run(arguments, variables)?;
            let last = ended.err.lines().last().unwrap_or_default();
            let line: Value = serde_json::from_str(last).with_context(|| ended.err.clone())?;
            ensure!(ended.code == 1 && line["msg"] == "failed to verify flags", "{ended:?}");
            ensure!(line["error"] == expected, "{line}");
            Ok(())
        };
        fails(
            &["--listen-client-urls", "http://127.0.0.1:1"],
            &[],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        )?;
        fails(&["stray"], &[], "\"stray\" is not a valid flag").or_else(|error| match name {
            // Under `keelson store` it may be a tool's name.
            "keelson" => Ok(()),
            _ => Err(error),
        })?;
        fails(
            &[],
            &[("ETCD_SNAPSHOT_COUNT", "x")],
            "invalid value \"x\" for ETCD_SNAPSHOT_COUNT: parse error",
        )?;
        fails(&["--config-file", "/nobody"], &[], "open /nobody: no such file or directory")?;
    }
    Ok(())
}

#[test]
fn the_log_has_zaps_shape_and_the_lines_that_tools_wait_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?.with("max-wals", "3");
    let variables = [("ETCD_NAME", "shadowed"), ("ETCD_MAX_TXN_OPS", "3"), ("ETCD_NOBODY", "x")];
    let mut store = StoreProcess::start(&alone.flags, &variables, &dir.path().join("log"))?;
    store.ready()?;
    let log = store.log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<Vec<Value>>>()?;
    for line in &lines {
        let keys: Vec<&str> =
            line.as_object().context(log.clone())?.keys().map(String::as_str).collect();
        ensure!(keys[..4] == ["level", "ts", "caller", "msg"], "{line}");
        ensure!(line["level"] != "error", "{line}");
    }
    let position = |message: &str| {
        let found = lines.iter().position(|line| line["msg"] == message);
        found.with_context(|| format!("{message} in {log}"))
    };
    position("unrecognized environment variable")?;
    position("flag has no effect")?;
    ensure!(
        position("starting an etcd server")?
            < position("serving client traffic insecurely; this is strongly discouraged!")?
    );
    ensure!(
        position("published local member to cluster through raft")?
            < position("ready to serve client requests")?
    );
    let start = &lines[position("starting an etcd server")?];
    ensure!(start["snapshot-catchup-entries"] == 5000, "{start}");
    ensure!(start["v2-deprecation"] == "write-only" && start["name"] == "m", "{start}");

    // The environment's limit counts.
    let put = r#"{"request_put":{"key":"YQ=="}}"#;
    let txn = format!(r#"{{"success":[{0},{0},{0},{0}]}}"#, put);
    let (status, body) = curl(&["-d", &txn, &format!("{}/v3/kv/txn", alone.url)])?;
    ensure!(status == 400 && body.contains("too many operations in txn request"), "{body}");

    let ended = store.signal(Signal::SIGTERM)?;
    ensure!(ended.code() == Some(143), "{ended}");
    // Who the member is stands in its data, whatever the flags say now.
    let members = || -> Result<String> {
        Ok(curl(&["-d", "{}", &format!("{}/v3/cluster/member/list", alone.url)])?.1)
    };
    let again = Alone { flags: alone.flags.clone(), url: alone.url.clone(), port: alone.port }
        .with("initial-cluster-token", "another");
    let mut store = again.start(dir.path())?;
    let with_another_token = members()?;
    ensure!(store.signal(Signal::SIGINT)?.code() == Some(130));
    let _store = alone.start(dir.path())?;
    ensure!(id(&members()?)? == id(&with_another_token)?);
    Ok(())
}

fn id(members: &str) -> Result<String> {
    let value: Value = serde_json::from_str(members)?;
    Ok(value["members"][0]["ID"].as_str().context(members.to_owned())?.to_owned())
}

#[test]
fn a_file_takes_the_place_of_flags_and_environment() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ports = keelson_tests::ports::free(2)?;
    let url = format!("http://127.0.0.1:{}", ports[0]);
    let peer = format!("http://127.0.0.1:{}", ports[1]);
    let file = dir.path().join("etcd.yaml");
    let data = dir.path().join("data");
    let log = dir.path().join("own.log");
    let wal = dir.path().join("wal");
    std::fs::write(
        &file,
        format!(
            "name: from-file\ndata-dir: {}\nwal-dir: {}\nlisten-client-urls: {url}\n\
             advertise-client-urls: {url}\nlisten-peer-urls: {peer}\n\
             initial-advertise-peer-urls: {peer}\ninitial-cluster: from-file={peer}\n\
             heartbeat-interval: 50\nelection-timeout: 500\nlog-outputs: [{}]\n\
             enable-grpc-gateway: false\nsocket-options:\n  reuse-port: true\nnobody: knows\n",
            data.display(),
            wal.display(),
            log.display()
        ),
    )?;
    let file = file.display().to_string();
    let arguments = ["--config-file".to_owned(), file, "--name=ignored".to_owned()];
    let mut store = StoreProcess::start(&arguments, &[("ETCD_NAME", "ignored")], &log)?;
    store.ready()?;
    ensure!(store.log().contains("\"name\":\"from-file\""), "{}", store.log());
    ensure!(curl(&["-d", "{}", &format!("{url}/v3/kv/range")])?.0 == 404, "no gateway");
    ensure!(std::fs::read_dir(&wal)?.next().is_some(), "the log is in --wal-dir");
    Ok(())
}
