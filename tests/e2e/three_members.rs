//! Three processes: a write on one is read on all, and the leader's death loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keelson_client::{GrpcStore, Store as _};
use keelson_proto::etcdserverpb as pb;
use keelson_tests::Members;

/// Writers at once.
const WRITERS: usize = 8;

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

async fn get(store: &GrpcStore, key: &str) -> Result<Option<String>> {
    let request = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    let kvs = store.range(request).await?.kvs;
    Ok(kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
}

/// Writes until told to stop; what was acknowledged, by key.
async fn write(
    stores: Vec<GrpcStore>,
    writer: usize,
    stop: Arc<AtomicBool>,
) -> BTreeMap<String, (String, i64)> {
    let mut acknowledged = BTreeMap::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let (key, value) = (format!("w{writer}/{number}"), format!("v{number}"));
        match stores[number % stores.len()].put(put(&key, &value)).await {
            Ok(answer) => {
                let revision = answer.header.map_or(0, |header| header.revision);
                acknowledged.insert(key, (value, revision));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_killed_and_nothing_acknowledged_is_lost() -> Result<()> {
    let mut members = Members::start(3).await?;

    members.client(0)?.put(put("greeting", "hello")).await?;
    for index in 0..3 {
        let seen = get(&members.client(index)?, "greeting").await?;
        ensure!(seen.as_deref() == Some("hello"), "member {index} reads {seen:?}");
    }

    let first = members.leader(0).await?.context("a leader")?;
    let survivors: Vec<usize> = (0..3).filter(|index| *index != first).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let stores = (0..3).map(|index| members.client(index)).collect::<Result<Vec<_>>>()?;
        writers.push(tokio::spawn(write(stores, writer, Arc::clone(&stop))));
    }
    let watcher = members.client(survivors[0])?;
    wait_for_keys(&watcher, 200).await?;
    members.kill_9(first)?;

    let end = Instant::now() + Duration::from_secs(30);
    let second = loop {
        match members.leader(survivors[0]).await {
            Ok(Some(leader)) if leader != first => break leader,
            other => ensure!(Instant::now() < end, "no new leader: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let before = count(&watcher).await?;
    wait_for_keys(&watcher, before + 200).await?;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    for writer in writers {
        acknowledged.extend(writer.await?);
    }

    members.start_one(first)?;
    members.ready(first).await?;
    for index in 0..3 {
        let store = members.client(index)?;
        let request =
            pb::RangeRequest { key: "w".into(), range_end: "x".into(), ..Default::default() };
        let kvs = store.range(request).await?.kvs;
        let found: BTreeMap<String, (String, i64)> = kvs
            .into_iter()
            .map(|kv| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(&kv.key), (text(&kv.value), kv.mod_revision))
            })
            .collect();
        for (key, wanted) in &acknowledged {
            ensure!(
                found.get(key) == Some(wanted),
                "member {index} lost {key} (leader {first} -> {second})"
            );
        }
    }
    println!(
        "{} acknowledged writes are on all three members after the leader's death",
        acknowledged.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_are_killed_and_come_back_with_everything() -> Result<()> {
    let mut members = Members::start(3).await?;
    for number in 0..50 {
        members.client(number % 3)?.put(put(&format!("k{number}"), "v")).await?;
    }
    for index in 0..3 {
        members.kill_9(index)?;
    }
    for index in 0..3 {
        members.start_one(index)?;
    }
    for index in 0..3 {
        members.ready(index).await?;
        for number in 0..50 {
            let seen = get(&members.client(index)?, &format!("k{number}")).await?;
            ensure!(seen.as_deref() == Some("v"), "member {index} lost k{number}");
        }
    }
    Ok(())
}

async fn count(store: &GrpcStore) -> Result<i64> {
    let request = pb::RangeRequest {
        key: "w".into(),
        range_end: "x".into(),
        count_only: true,
        serializable: true,
        ..Default::default()
    };
    Ok(store.range(request).await?.count)
}

async fn wait_for_keys(store: &GrpcStore, wanted: i64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let count = count(store).await?;
        if count >= wanted {
            return Ok(());
        }
        ensure!(Instant::now() < end, "only {count} of {wanted} keys were written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
