//! `keelson bench`: every load runs on ours and on etcd, counts what the store counts, and says so.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store as _};
use keelson_tests::certificates::Authority;
use keelson_tests::store::Alone;
use keelson_tests::{Output, StoreProcess, cluster};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(90);

fn bench(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(cluster::binary());
    command.arg("bench").args(arguments);
    keelson_tests::run(command, None, LIMIT)
}

/// `bench store` on one endpoint, briefly; its JSON lines.
fn load(url: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let brief =
        ["store", "--endpoints", url, "--json", "--seconds", "0.3", "--value-size", "32"].to_vec();
    lines(&bench(&[brief, arguments.to_vec()].concat())?.ok()?)
}

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Whether counts and latencies of a load can be true.
fn sane(load: &Value) -> Result<()> {
    let latency = |name: &str| load["latencyMicros"][name].as_u64().unwrap_or(0);
    let rising = ["p50", "p90", "p99", "p999", "max"].map(latency);
    ensure!(load["errors"] == 0 && load["firstError"].is_null(), "{load}");
    ensure!(load["requests"].as_u64() > Some(0), "{load}");
    ensure!(latency("p50") > 0 && rising.is_sorted(), "{load}");
    ensure!(load["clientCpuMicros"].as_f64() > Some(0.0), "{load}");
    Ok(())
}

#[test]
fn every_load_runs_and_is_answered_rightly() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let store = alone.start(dir.path())?;
    let pid = store.pid().to_string();
    let names = [
        "put",
        "create",
        "update",
        "get",
        "serializable-get",
        "range-1k",
        "range-10k",
        "stream-1k",
        "stream-10k",
        "keep-alive",
        "keep-alive-once",
        "kubernetes",
        "watch-latency",
        "watch",
    ];
    let svg = dir.path().join("charts.svg");
    let svg_path = svg.display().to_string();
    let workload = names.join(",");
    let loads =
        load(
            &alone.url,
            &[
                &[
                    "--workload",
                    &workload,
                    "--clients",
                    "4",
                    "--connections",
                    "2",
                    "--leases",
                    "50",
                ][..],
                &["--watchers", "20", "--streams", "4", "--slow-streams", "2"],
                &["--pids", &pid, "--svg", &svg_path],
            ]
            .concat(),
        )?;
    ensure!(loads.iter().map(|load| &load["workload"]).eq(names.iter()), "{loads:?}");
    for load in &loads {
        sane(load)?;
        ensure!(load["connections"] == 2, "{load}");
        ensure!(load["serverResidentBytes"].as_u64() > Some(1 << 20), "{load}");
        ensure!(load["serverPeakResidentBytes"].as_u64() >= load["serverResidentBytes"].as_u64());
    }
    let watch = loads.last().context("the watch load")?;
    let puts = watch["requests"].as_u64().context("puts")?;
    ensure!(watch["events"] == puts * 20, "every watcher is told every put: {watch}");
    ensure!(watch["slowEvents"].as_u64() > Some(0), "{watch}");
    let mixed = loads.iter().find(|load| load["workload"] == "kubernetes").context("mixed")?;
    ensure!(mixed["events"].as_u64() > Some(0), "{mixed}");
    let charts = std::fs::read_to_string(&svg)?;
    ensure!(charts.starts_with("<svg") && charts.contains("watch-latency × 4"), "{charts}");
    Ok(())
}

#[tokio::test]
async fn a_put_that_is_counted_is_a_revision() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let _store = alone.start(dir.path())?;
    let endpoints = vec![alone.url.clone()];
    let store = GrpcStore::new(&GrpcStoreConfig { endpoints, ..GrpcStoreConfig::default() })?;
    for arguments in [&["--clients", "7"][..], &["--clients", "7", "--rate", "200"]] {
        let before = store.revision().await?;
        let load = load(&alone.url, arguments)?.remove(0);
        sane(&load)?;
        let revisions = store.revision().await? - before;
        ensure!(load["requests"] == revisions, "{revisions} revisions: {load}");
        if arguments.contains(&"--rate") {
            // No more than were due, and one of each client that was due as time ran out.
            let unsent = load["unsent"].as_i64().unwrap_or(0);
            let due = load["seconds"].as_f64().unwrap_or(0.0).mul_add(200.0, 7.0);
            ensure!((revisions + unsent) as f64 <= due, "{load}");
            ensure!(load["askedPerSecond"] == 200.0, "{load}");
        }
    }
    Ok(())
}

#[test]
fn loads_speak_tls_with_a_certificate() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ours = Authority::new(&dir.path().join("ours"))?;
    let (server, client) = (ours.issue("server", 1)?, ours.issue("client", 2)?);
    let alone = Alone::new(dir.path(), "https")?
        .with("cert-file", &server.certificate)
        .with("key-file", &server.key)
        .with("trusted-ca-file", &ours.path())
        .with("client-cert-auth", "true");
    let _store = alone.start(dir.path())?;
    let path = ours.path();
    let identity = ["--cert", &client.certificate, "--key", &client.key, "--cacert", &path];
    let what = ["--clients", "3", "--workload", "put,watch", "--watchers", "5"];
    for load in load(&alone.url, &[&identity[..], &what].concat())? {
        sane(&load)?;
    }
    let without = ["store", "--endpoints", &alone.url, "--cacert", &path];
    let said = bench(&without)?.failed()?;
    ensure!(said.contains("reach the store at"), "{said}");
    Ok(())
}

#[test]
fn etcd_takes_the_same_loads_and_is_compared() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let mut etcd = StoreProcess::start_etcd(&alone.flags, &dir.path().join("log"))?;
    // Before 3.5 etcd said this alone.
    etcd.logged("serving client traffic")?;
    let what = "put,create,update,get,range-1k,keep-alive,kubernetes,watch-latency,watch";
    let settings = ["--clients", "4", "--leases", "20", "--watchers", "20", "--streams", "2"];
    for load in load(&alone.url, &[&["--workload", what][..], &settings].concat())? {
        sane(&load)?;
    }
    let stream = load(&alone.url, &["--workload", "stream-1k", "--clients", "2"])?.remove(0);
    ensure!(stream["skipped"] == true && stream["requests"] == 0, "{stream}");

    let svg = dir.path().join("compared.svg").display().to_string();
    let text = bench(
        &[
            &["compare", "--rival", "etcd", "--members", "1", "--rounds", "2", "--json"][..],
            &["--clients", "4", "--seconds", "0.3", "--workload", "put,watch", "--watchers", "10"],
            &["--svg", &svg],
        ]
        .concat(),
    )?
    .ok()?;
    let settings = lines(&text)?;
    ensure!(settings.len() == 2, "{text}");
    for setting in &settings {
        let rate = |side: &str| setting[side]["figures"]["perSecond"]["median"].as_f64();
        ensure!(rate("keelson") > Some(0.0) && rate("rival") > Some(0.0), "{setting}");
        ensure!(setting["rival"]["rounds"].as_array().map(Vec::len) == Some(2), "{setting}");
        let ratio = &setting["ratios"]["serverCpuMicros"];
        ensure!(ratio["least"].as_f64() <= ratio["most"].as_f64(), "{setting}");
    }
    ensure!(Path::new(&svg).metadata()?.len() > 1000);
    Ok(())
}

#[test]
fn steadiness_and_starts_are_measured() -> Result<()> {
    let steady = ["steady", "--data-mib", "2", "--revisions", "2000", "--seconds", "0.3", "--json"];
    let steadies =
        lines(&bench(&[&steady[..], &["--rounds", "1", "--clients", "4"]].concat())?.ok()?)?;
    ensure!(steadies.len() == 4, "{steadies:?}");
    for steady in &steadies {
        let ratio = steady["ratios"]["perSecond"]["median"].as_f64();
        ensure!(ratio > Some(0.0) && steady["timesDone"].is_u64(), "{steady}");
    }
    let start = ["start", "--data-mib", "2", "--seconds", "0.2", "--starts", "1", "--json"];
    let start = lines(&bench(&start)?.ok()?)?.remove(0);
    for key in ["smallResidentMib", "startSeconds", "startAfterKillSeconds"] {
        ensure!(start["figures"][key]["median"].as_f64() > Some(0.0), "{start}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_measured_is_refused() -> Result<()> {
    let alone = Alone::new(Path::new("/nonexistent"), "http")?;
    let url = alone.url.as_str();
    let cases: [(&[&str], &str); 9] = [
        (&["store", "--endpoints", url], "reach the store at"),
        (&["store", "--endpoints", url, "--rate", "0"], "--rate must be more than 0"),
        (&["store", "--endpoints", url, "--seconds", "0"], "must be more than 0"),
        (&["store", "--endpoints", url, "--clients", "0"], "--clients must be at least 1"),
        (&["store", "--endpoints", url, "--workload", "eat"], "invalid value 'eat'"),
        (&["store", "--endpoints", url, "--svg", "/nonexistent/x.svg"], "/nonexistent/x.svg"),
        (&["store", "--endpoints", url, "--profile", "/tmp"], "--profile needs --pids"),
        (&["compare", "--rival", "/nonexistent/etcd"], "start /nonexistent/etcd"),
        (&["steady", "--revisions", "0"], "--revisions must be at least 1"),
    ];
    for (arguments, wanted) in cases {
        let said = bench(arguments)?.failed()?;
        ensure!(said.contains(wanted), "{arguments:?}: {said}");
    }
    let mut command = Command::new(cluster::binary());
    let profile = ["bench", "store", "--endpoints", url, "--pids", "1", "--profile", "/tmp"];
    command.args(profile).env("PATH", "/nonexistent");
    let said = keelson_tests::run(command, None, LIMIT)?.failed()?;
    ensure!(said.contains("needs the program perf"), "{said}");
    Ok(())
}
