//! `keelson watch`: no change twice and none left out, of our store and of etcd.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store as _};
use keelson_proto::etcdserverpb as pb;
use keelson_tests::printing::Printing;
use keelson_tests::store::{Alone, StoreProcess};
use keelson_tests::{Members, wait};
use pb::request_op::Request;
use serde_json::{Value, json};

/// A member alone, of ours or of etcd, that can be stopped and started.
struct Store {
    alone: Alone,
    etcd: bool,
    process: StoreProcess,
    client: GrpcStore,
    dir: tempfile::TempDir,
}

impl Store {
    fn start(etcd: bool) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let alone = Alone::new(dir.path(), "http")?;
        let process = Self::process(&alone, etcd, dir.path())?;
        let endpoints = vec![alone.url.clone()];
        let client = GrpcStore::new(&GrpcStoreConfig { endpoints, ..Default::default() })?;
        Ok(Self { alone, etcd, process, client, dir })
    }

    fn process(alone: &Alone, etcd: bool, dir: &std::path::Path) -> Result<StoreProcess> {
        let log = dir.join("log");
        let mut process = match etcd {
            true => StoreProcess::start_etcd(&alone.flags, &log)?,
            false => StoreProcess::start(&alone.flags, &[], &log)?,
        };
        // Before 3.5 etcd said this alone.
        process.logged("serving client traffic")?;
        Ok(process)
    }

    async fn restart(&mut self) -> Result<()> {
        self.process.kill_9()?;
        self.process = Self::process(&self.alone, self.etcd, self.dir.path())?;
        let end = std::time::Instant::now() + Duration::from_secs(20);
        // The client has to notice, too.
        while let Err(error) = self.client.revision().await {
            ensure!(std::time::Instant::now() < end, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn watch(&self, arguments: &[&str]) -> Result<Printing> {
        let mut all = vec!["--endpoints", &self.alone.url];
        all.extend(arguments);
        Printing::watch(&all)
    }

    async fn put(&self, key: &str, value: &str) -> Result<i64> {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = pb::PutRequest { key, value, ..Default::default() };
        Ok(self.client.put(request).await?.header.unwrap_or_default().revision)
    }
}

/// One transaction that sets these keys.
fn sets(keys: &[String]) -> pb::TxnRequest {
    let put = |key: &String| {
        let put =
            pb::PutRequest { key: key.clone().into(), value: "v".into(), ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestPut(put)) }
    };
    pb::TxnRequest { success: keys.iter().map(put).collect(), ..Default::default() }
}

fn keys(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["key"].as_str().unwrap_or_default()).collect()
}

/// Waits for the bookmark of a watch that begins with the next change.
fn began(file: &str) -> Result<String> {
    wait::until("the bookmark", Duration::from_secs(20), || Ok(std::fs::read_to_string(file).ok()))
}

fn next(printing: &mut Printing, count: usize) -> Result<Vec<Value>> {
    (0..count).map(|_| printing.object()).collect()
}

#[tokio::test]
async fn members_that_die_are_not_noticed_in_what_is_told() -> Result<()> {
    let mut members = Members::start(3).await?;
    members.lead(0).await?;
    let endpoints = members.endpoints().join(",");
    let mut watch =
        Printing::watch(&["--endpoints", &endpoints, "k/", "--idle", "300ms", "--from", "1"])?;
    let write =
        async |members: &Members, at: usize, numbers: std::ops::Range<usize>| -> Result<()> {
            let client = members.client(at)?;
            for number in numbers {
                let txn = sets(&[format!("k/{number}/a"), format!("k/{number}/b")]);
                let end = std::time::Instant::now() + Duration::from_secs(30);
                // It may have been done although it failed, and is then done twice.
                while let Err(error) = client.txn(txn.clone()).await {
                    ensure!(std::time::Instant::now() < end, "{error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Ok(())
        };
    write(&members, 1, 0..20).await?;
    let mut lines = next(&mut watch, 10)?;
    // The one that leads and tells.
    members.kill_9(0)?;
    write(&members, 1, 20..40).await?;
    watch.has_said(&format!("goes on at {}", members.endpoints()[1]))?;
    members.start_one(0)?;
    members.ready(0).await?;
    // One that keeps its connections, and says nothing.
    members.pause(1)?;
    write(&members, 2, 40..60).await?;
    watch.has_said(&format!("goes on at {}", members.endpoints()[2]))?;
    members.resume(1)?;
    write(&members, 2, 60..70).await?;

    let every = pb::RangeRequest { key: "k/".into(), range_end: "k0".into(), ..Default::default() };
    let kvs = members.client(2)?.range(every).await?.kvs;
    let versions: BTreeMap<String, i64> =
        kvs.iter().map(|kv| (String::from_utf8_lossy(&kv.key).into_owned(), kv.version)).collect();
    ensure!(versions.len() == 140, "{versions:?}");
    let total = usize::try_from(versions.values().sum::<i64>())?;
    let left = total - lines.len();
    lines.extend(next(&mut watch, left)?);
    let mut told: BTreeMap<String, i64> = BTreeMap::new();
    let mut revision = 0;
    for (at, line) in lines.iter().enumerate() {
        let key = line["key"].as_str().context("a key")?;
        let count = told.entry(key.to_owned()).or_default();
        *count += 1;
        ensure!(line["version"] == json!(*count), "twice or left out: {line}");
        let second = line["mod_revision"].as_i64() == Some(revision);
        ensure!(second == (at % 2 == 1), "a transaction is not told as one: {line}");
        ensure!(line.get("more").is_some() != second, "{line}");
        revision = line["mod_revision"].as_i64().context("a revision")?;
    }
    ensure!(told == versions, "{told:?}\n{versions:?}");
    ensure!(watch.interrupt()? == 0, "{}", watch.errors());
    ensure!(watch.rest().is_empty(), "more than there was");
    Ok(())
}

#[tokio::test]
async fn a_restart_goes_on_where_the_bookmark_is() -> Result<()> {
    for etcd in [false, true] {
        let mut store = Store::start(etcd)?;
        let file = store.file("bookmark");
        let arguments = ["a/", "--bookmark", &file, "--idle", "200ms"];
        let mut watch = store.watch(&arguments)?;
        // From now on, which is written down before anything has happened.
        began(&file)?;
        watch.signal(nix::sys::signal::Signal::SIGKILL)?;
        ensure!(watch.ended()? == -1);
        store.put("a/0", "while away").await?;
        let mut watch = store.watch(&arguments)?;
        store.put("b/0", "not here").await?;
        store.client.txn(sets(&["a/1".into(), "a/2".into(), "b/1".into(), "a/3".into()])).await?;
        ensure!(keys(&next(&mut watch, 4)?) == ["a/0", "a/1", "a/2", "a/3"]);
        // The store goes and comes, the watch stays.
        store.restart().await?;
        store.put("a/4", "").await?;
        ensure!(keys(&next(&mut watch, 1)?) == ["a/4"]);
        ensure!(watch.interrupt()? == 0, "{}", watch.errors());
        ensure!(watch.rest().is_empty());
        store.put("a/5", "").await?;
        let mut watch = store.watch(&["a/", "--bookmark", &file, "--count", "1"])?;
        ensure!(keys(&next(&mut watch, 1)?) == ["a/5"]);
        ensure!(watch.ended()? == 0 && watch.rest().is_empty(), "{}", watch.errors());
    }
    Ok(())
}

#[tokio::test]
async fn lines_are_as_documented() -> Result<()> {
    let store = Store::start(false)?;
    let mut watch = store.watch(&["a", "--exact", "--from", "1", "--prev-kv"])?;
    let lease = store.client.lease_grant(0x1234, 600).await?;
    let put = pb::PutRequest {
        key: "a".into(),
        value: bytes::Bytes::from_static(b"\xff\x00"),
        lease,
        ..Default::default()
    };
    store.put("a", "text").await?;
    store.put("ab", "another key").await?;
    store.client.put(put).await?;
    let delete = pb::DeleteRangeRequest { key: "a".into(), ..Default::default() };
    store.client.delete_range(delete).await?;
    let expected = [
        json!({"type": "PUT", "key": "a", "value": "text", "create_revision": 2, "mod_revision": 2,
               "version": 1}),
        json!({"type": "PUT", "key": "a", "value_base64": "/wA=", "create_revision": 2,
               "mod_revision": 4, "version": 2, "lease": "1234",
               "prev_kv": {"value": "text", "create_revision": 2, "mod_revision": 2, "version": 1}}),
        json!({"type": "DELETE", "key": "a", "mod_revision": 5,
               "prev_kv": {"value_base64": "/wA=", "create_revision": 2, "mod_revision": 4,
                           "version": 2, "lease": "1234"}}),
    ];
    ensure!(next(&mut watch, 3)? == expected);
    Ok(())
}

#[tokio::test]
async fn a_bookmark_goes_on_while_nothing_happens() -> Result<()> {
    let store = Store::start(false)?;
    let file = store.file("bookmark");
    let arguments = ["a/", "--bookmark", &file, "--idle", "100ms", "--progress"];
    let mut watch = store.watch(&arguments)?;
    began(&file)?;
    let mut newest = 0;
    for number in 0..5 {
        newest = store.put(&format!("b/{number}"), "not here").await?;
    }
    loop {
        let line = watch.object()?;
        ensure!(line["type"] == "PROGRESS", "{line}");
        if line["revision"].as_i64() >= Some(newest) {
            break;
        }
    }
    ensure!(watch.interrupt()? == 0);
    // What it would have to see is gone, if it had to see anything of it.
    store.client.compact(newest, true).await?;
    store.put("a/1", "").await?;
    let mut watch = store.watch(&["a/", "--bookmark", &file, "--count", "1"])?;
    ensure!(keys(&next(&mut watch, 1)?) == ["a/1"]);
    ensure!(watch.ended()? == 0, "{}", watch.errors());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_is_found_while_history_is_compacted() -> Result<()> {
    let store = Store::start(false)?;
    for number in 0..200 {
        store.put(&format!("a/{}", number % 7), &number.to_string()).await?;
    }
    let client = store.client.clone();
    let busy = tokio::spawn(async move {
        for number in 0_u64.. {
            let put =
                pb::PutRequest { key: format!("a/{}", number % 7).into(), ..Default::default() };
            let revision = client.put(put).await?.header.unwrap_or_default().revision;
            if number % 3 == 0 {
                client.compact(revision - 60, false).await?;
            }
        }
        anyhow::Ok(())
    });
    for _ in 0..6 {
        let mut watch = store.watch(&["a/", "--from-oldest", "--count", "80"])?;
        let lines = next(&mut watch, 80)?;
        let revisions: Vec<i64> =
            lines.iter().filter_map(|line| line["mod_revision"].as_i64()).collect();
        ensure!(revisions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{revisions:?}");
        ensure!(watch.ended()? == 0, "{}", watch.errors());
        // It began where the store did then, and not later.
        let now = store.client.revision().await?;
        ensure!(revisions[0] <= now - 20, "{} of {now}", revisions[0]);
    }
    ensure!(!busy.is_finished(), "{:?}", busy.await);
    busy.abort();
    Ok(())
}

#[tokio::test]
async fn what_was_compacted_meanwhile_is_said_or_made_up_for() -> Result<()> {
    for etcd in [false, true] {
        let store = Store::start(etcd)?;
        let file = store.file("bookmark");
        let before = store.put("a/1", "x").await?;
        let arguments = ["a/", "--from", "1", "--bookmark", &file, "--count", "1"];
        let mut watch = store.watch(&arguments)?;
        ensure!(keys(&next(&mut watch, 1)?) == ["a/1"] && watch.ended()? == 0);
        let mut newest = 0;
        for number in 0..4 {
            newest = store.put("a/2", &number.to_string()).await?;
        }
        store.client.compact(newest, true).await?;
        let left = std::fs::read_to_string(&file)?;

        let mut watch = store.watch(&arguments)?;
        ensure!(watch.ended()? == 3, "{}", watch.errors());
        let words = format!(
            "revision {} comes next and is compacted away: the oldest that is kept is {newest}",
            before + 1
        );
        watch.has_said(&words)?;
        ensure!(watch.rest().is_empty() && std::fs::read_to_string(&file)? == left);

        let anew = ["a/", "--at-least-once", &file, "--on-compaction", "oldest", "--count", "2"];
        let mut watch = store.watch(&anew)?;
        let lines = next(&mut watch, 2)?;
        let mark = json!({"type": "COMPACTED", "wanted": before + 1, "oldest": newest});
        ensure!(lines[0] == mark && lines[1]["mod_revision"] == json!(newest), "{lines:?}");
        ensure!(watch.ended()? == 0);

        std::fs::write(&file, &left)?;
        let anew = ["a/", "--bookmark", &file, "--on-compaction", "resync"];
        let mut watch = store.watch(&anew)?;
        let lines = next(&mut watch, 4)?;
        ensure!(lines[0] == json!({"type": "RESYNC", "revision": newest}), "{lines:?}");
        ensure!(lines[1]["type"] == "STATE" && lines[1]["value"] == "x", "{lines:?}");
        ensure!(lines[2]["type"] == "STATE" && lines[2]["value"] == "3", "{lines:?}");
        ensure!(lines[3] == json!({"type": "RESYNCED", "revision": newest}), "{lines:?}");
        let last = store.put("a/3", "").await?;
        let line = watch.object()?;
        ensure!(line["key"] == "a/3" && line["mod_revision"] == json!(last), "{line}");
        ensure!(watch.interrupt()? == 0);
    }
    Ok(())
}

#[tokio::test]
async fn every_key_can_come_first() -> Result<()> {
    let store = Store::start(false)?;
    for hundred in 0..3 {
        let keys: Vec<String> = (0..100).map(|number| format!("a/{hundred}{number:02}")).collect();
        store.client.txn(sets(&keys)).await?;
    }
    let mut watch = store.watch(&["a/", "--list"])?;
    ensure!(watch.object()? == json!({"type": "RESYNC", "revision": 4}));
    let lines = next(&mut watch, 300)?;
    ensure!(lines.iter().all(|line| line["type"] == "STATE"));
    let expected: Vec<String> = (0..300).map(|number| format!("a/{number:03}")).collect();
    ensure!(keys(&lines) == expected);
    ensure!(watch.object()? == json!({"type": "RESYNCED", "revision": 4}));
    store.put("a/x", "").await?;
    ensure!(watch.object()?["key"] == "a/x");
    Ok(())
}

#[tokio::test]
async fn another_store_is_not_taken_for_the_one_before() -> Result<()> {
    let (first, second) = (Store::start(false)?, Store::start(false)?);
    let file = first.file("bookmark");
    for number in 0..5 {
        first.put("a/1", &number.to_string()).await?;
    }
    let mut watch = first.watch(&["a/", "--from", "1", "--bookmark", &file, "--count", "5"])?;
    ensure!(watch.ended()? == 0, "{}", watch.errors());
    // Both found their cluster under the same name and other addresses: other ids.
    let mut watch = second.watch(&["a/", "--bookmark", &file])?;
    ensure!(watch.ended()? == 1, "{}", watch.errors());
    watch.has_said("is of cluster")?;
    Ok(())
}
