//! A disk that stands still under thousands of clients: who cannot be served is told so at once, what
//! waits stays bounded, and all goes on when the disk does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keelson_client::{GrpcStore, Store as _, StoreError};
use keelson_proto::etcdserverpb as pb;
use keelson_tests::store::curl;

use super::stage::Stage;

const CLIENTS: usize = 1500;
const CONNECTIONS: usize = 20;
/// All clients together ask for more than may wait.
const VALUE_BYTES: usize = 64 << 10;
/// What may wait is 64 MiB; the rest are requests on their way in, buffers and the store itself.
const MEMORY_MAX: f64 = 1024.0 * 1024.0 * 1024.0;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_the_disk_stands_still_is_refused_at_once() -> Result<()> {
    let mut stage = Stage::new(1)?;
    stage.start_all()?;
    let page = format!("{}/metrics", stage.endpoints()[0]);
    stage.put(0, "walBeforeSync", "sleep(5000)")?;

    let (refused, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let stores: Vec<GrpcStore> = (0..CONNECTIONS).map(|_| stage.store(0)).collect::<Result<_>>()?;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = stores[client % CONNECTIONS].clone();
            tokio::spawn(ask(store, client, refused.clone(), stop.clone()))
        })
        .collect();
    // More refusals than there are clients: some have come back, and were refused again.
    until(|| Ok(refused.load(Ordering::Relaxed) > 2 * CLIENTS as u64)).await?;
    let pressed = metrics(&page)?;
    ensure!(pressed["process_resident_memory_bytes"] < MEMORY_MAX, "{pressed:?}");
    let waiting = pressed["keelson_proposals_pending_bytes"];
    ensure!(waiting < 100.0 * 1024.0 * 1024.0, "{pressed:?}");
    ensure!(pressed["keelson_proposals_refused_total"] > 0.0, "{pressed:?}");
    ensure!(stage.log(0).contains("too many requests; refusing"), "nothing is said in the log");

    stage.clear(0, "walBeforeSync")?;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    ensure!(put(&stores[0], 0).await.is_ok());
    until(|| Ok(metrics(&page)?["keelson_proposals_pending_bytes"] == 0.0)).await
}

/// Asks again and again until told to stop; ends when a write is through after that.
async fn ask(
    store: GrpcStore,
    client: usize,
    refused: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        match put(&store, client).await {
            Ok(()) if stopping => return Ok(()),
            Ok(()) => {}
            Err(StoreError::Refused { message, .. })
                if message == "etcdserver: too many requests" =>
            {
                refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            // It waited for the disk, in vain.
            Err(StoreError::TimedOut(_)) => {}
            Err(error) => return Err(error.into()),
        }
        ensure!(begun.elapsed() < PATIENCE, "client {client} is not served again");
    }
}

async fn put(store: &GrpcStore, client: usize) -> Result<(), StoreError> {
    let put = pb::PutRequest {
        key: format!("stall/{client}").into(),
        value: vec![b'x'; VALUE_BYTES].into(),
        ..Default::default()
    };
    store.put(put).await.map(drop)
}

async fn until(mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !done()? {
        ensure!(begun.elapsed() < PATIENCE, "waited in vain");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Metrics of one line, by name.
fn metrics(page: &str) -> Result<BTreeMap<String, f64>> {
    let (status, text) = tokio::task::block_in_place(|| curl(&[page]))?;
    ensure!(status == 200, "{page}: {status}");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains('{'));
    lines
        .map(|line| {
            let (name, value) = line.split_once(' ').context("a name and a value")?;
            Ok((name.to_owned(), value.parse()?))
        })
        .collect()
}
