//! Flags of upkeep: automatic compaction, comparisons of members, what slow requests leave in the
//! log, what a gateway refuses.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_tests::store::{Alone, curl, run_as};
use keelson_tests::{Members, wait};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

fn post(url: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    let (status, text) = curl(&["-d", &body.to_string(), &format!("{url}{path}")])?;
    Ok((status, serde_json::from_str(&text).with_context(|| text)?))
}

fn put(url: &str) -> Result<()> {
    let (status, answer) = post(url, "/v3/kv/put", &json!({"key": "YQ==", "value": "eA=="}))?;
    ensure!(status == 200, "{answer}");
    Ok(())
}

// upstream: etcd v3, "Auto compaction"
#[test]
fn what_is_older_than_the_period_is_compacted_by_itself() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?
        .with("auto-compaction-mode", "periodic")
        .with("auto-compaction-retention", "1s")
        .with("compaction-batch-limit", "2")
        .with("compaction-sleep-interval", "1ms");
    let mut store = alone.start(dir.path())?;
    for _ in 0..20 {
        put(&alone.url)?;
    }
    let old = json!({"key": "YQ==", "revision": "5"});
    wait::until("revision 5 to be compacted", LIMIT, || {
        let (status, answer) = post(&alone.url, "/v3/kv/range", &old)?;
        let gone = answer["message"].as_str().unwrap_or_default().contains("has been compacted");
        Ok((status == 400 && gone).then_some(()))
    })?;
    store.logged("completed auto compaction")?;
    let (_, answer) = post(&alone.url, "/v3/kv/range", &json!({"key": "YQ=="}))?;
    ensure!(answer["count"] == "1", "{answer}");
    // Ten steps of two revisions each.
    store.logged("finished scheduled compaction")?;
    Ok(())
}

#[test]
fn slow_requests_are_logged_without_their_values() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?
        .with("warning-apply-duration", "1ns")
        .with("warning-unary-request-duration", "1ns")
        .with("enable-pprof", "true")
        .with("pre-vote", "false")
        .with("bootstrap-defrag-threshold-megabytes", "100")
        .with("feature-gates", "StopGRPCServiceOnDefrag=true,PriorityRequest=true");
    let mut store = alone.start(dir.path())?;
    let secret = json!({"key": "YWJj", "value": "c2VjcmV0"});
    ensure!(post(&alone.url, "/v3/kv/put", &secret)?.0 == 200);
    ensure!(
        post(&alone.url, "/v3/kv/range", &json!({"key": "YQ==", "range_end": "Yg=="}))?.0 == 200
    );
    let mut command = std::process::Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &alone.url, "get", "abc"]);
    keelson_tests::run(command, None, LIMIT)?.ok()?;
    for wanted in [
        "\"remote\":\"127.0.0.1:",
        "\"msg\":\"apply request took too long\"",
        "\"prefix\":\"read-only range \"",
        "range_response_count:1",
        "\"msg\":\"request stats\"",
        "\"response type\":\"/etcdserverpb.KV/Put\"",
        "value_size:6",
        "\"msg\":\"Skipping defragmentation\"",
        "a feature gate is accepted without effect",
    ] {
        store.logged(wanted)?;
    }
    ensure!(!store.log().contains("secret") && !store.log().contains("c2VjcmV0"));
    let (status, why) = curl(&[&format!("{}/debug/pprof/profile", alone.url)])?;
    ensure!(status == 404 && why.contains("perf record"), "{status} {why}");
    let (_, metrics) = curl(&[&format!("{}/metrics", alone.url)])?;
    let feature = "etcd_server_feature_enabled{name=\"StopGRPCServiceOnDefrag\",stage=\"ALPHA\"} 1";
    ensure!(metrics.contains(feature), "{metrics}");
    ensure!(post(&alone.url, "/v3/maintenance/defragment", &json!({}))?.0 == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_compared_on_a_timer_and_after_compactions() -> Result<()> {
    let flags = [
        "--corrupt-check-time=200ms",
        "--compact-hash-check-time=200ms",
        "--feature-gates=InitialCorruptCheck=true,CompactHashCheck=true",
    ];
    let members = Members::start_with(3, "http", &flags.map(str::to_owned)).await?;
    let url = &members.endpoints()[0];
    for _ in 0..5 {
        put(url)?;
    }
    ensure!(post(url, "/v3/kv/compaction", &json!({"revision": "4"}))?.0 == 200);
    for wanted in [
        "finished peer corruption check",
        "finished compaction hash check",
        "initial corruption checking passed",
    ] {
        wait::until(wanted, LIMIT, || {
            let logs = (0..3).map(|member| std::fs::read_to_string(members.log(member)));
            let logs = logs.collect::<Result<Vec<_>, _>>()?.concat();
            ensure!(!logs.contains("found data inconsistency"), "{logs}");
            Ok(logs.contains(wanted).then_some(()))
        })?;
    }
    let (_, alarms) = post(url, "/v3/maintenance/alarm", &json!({}))?;
    ensure!(alarms["alarms"].is_null(), "{alarms}");
    Ok(())
}

#[test]
fn what_a_gateway_does_not_do_is_said() -> Result<()> {
    let refused = run_as("etcd", &["grpc-proxy", "start"], &[])?;
    ensure!(refused.code == 1 && refused.err.contains("grpc-proxy"), "{refused:?}");
    let refused = run_as("etcd", &["gateway", "start", "--discovery-srv", "example.org"], &[])?;
    ensure!(refused.code == 1 && refused.err.contains("--endpoints"), "{refused:?}");
    Ok(())
}
