//! Clients that write all the time, each to the next member when one refuses, and what they lived
//! through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keelson_client::{GrpcStore, Store as _};
use keelson_proto::etcdserverpb as pb;
use tokio::sync::mpsc;

use super::members::store;

/// Between two writes of one client, and after a refusal.
const REST: Duration = Duration::from_millis(5);
/// What is told of writes, until somebody listens.
const QUEUE: usize = 1 << 16;
/// No cluster takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A write that was acknowledged.
struct Written {
    /// When it was first asked for.
    began: Instant,
    /// When the request that was answered was sent.
    called: Instant,
    done: Instant,
    /// How often it had been refused before.
    refused: u64,
}

/// All clients; they stop when this is dropped.
pub(super) struct Writers {
    written: std::sync::Mutex<mpsc::Receiver<Written>>,
    stop: Arc<AtomicBool>,
}

/// The moment at which a leader is killed, or asked to stop.
pub(super) struct Blow<'a> {
    writers: &'a Writers,
    at: Instant,
    seen: std::cell::RefCell<Vec<Written>>,
}

/// What happened to writes since.
pub(super) struct Outcome {
    /// The longest time in which none was acknowledged.
    pub(super) gap: Duration,
    /// The longest that one client waited for one write.
    pub(super) longest: Duration,
    /// Requests that were refused or lost.
    pub(super) refused: u64,
}

impl Writers {
    /// Starts them, spread over the members.
    pub(super) fn start(endpoints: &[String], clients: usize) -> Result<Self> {
        let (sender, written) = mpsc::channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        for client in 0..clients {
            let mut stores =
                endpoints.iter().map(|endpoint| store(endpoint)).collect::<Result<Vec<_>>>()?;
            let first = client % stores.len();
            stores.rotate_left(first);
            let (sender, stop) = (sender.clone(), Arc::clone(&stop));
            tokio::spawn(async move { write(client, &stores, &sender, &stop).await });
        }
        Ok(Self { written: std::sync::Mutex::new(written), stop })
    }

    /// Begins to look, from now.
    pub(super) fn blow(&self) -> Blow<'_> {
        self.take();
        Blow { writers: self, at: Instant::now(), seen: Default::default() }
    }

    /// All that has been told and not been looked at.
    fn take(&self) -> Vec<Written> {
        let Ok(mut queue) = self.written.lock() else { return Vec::new() };
        std::iter::from_fn(|| queue.try_recv().ok()).collect()
    }

    /// What happened from the blow to now.
    pub(super) fn since(&self, blow: Blow<'_>) -> Outcome {
        let mut writes = blow.seen.into_inner();
        writes.extend(self.take());
        writes.sort_by_key(|write| write.done);
        let mut outcome = Outcome { gap: Duration::ZERO, longest: Duration::ZERO, refused: 0 };
        let mut last = blow.at;
        for write in writes.iter().filter(|write| write.done > blow.at) {
            outcome.gap = outcome.gap.max(write.done - last);
            outcome.longest = outcome.longest.max(write.done - write.began.max(blow.at));
            outcome.refused += write.refused;
            last = write.done;
        }
        outcome
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Blow<'_> {
    /// Until a write has been acknowledged that was asked for after it; how long that took.
    pub(super) async fn pause(&self) -> Result<Duration> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(first) = self.first_after() {
                return Ok(first - self.at);
            }
            anyhow::ensure!(Instant::now() < end, "no write is acknowledged");
            tokio::time::sleep(REST).await;
        }
    }

    /// When the first write ended that was asked for after the blow.
    fn first_after(&self) -> Option<Instant> {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.writers.take());
        seen.iter().filter(|write| write.called > self.at).map(|write| write.done).min()
    }
}

async fn write(
    client: usize,
    stores: &[GrpcStore],
    told: &mpsc::Sender<Written>,
    stop: &AtomicBool,
) -> Option<()> {
    let put = pb::PutRequest {
        key: format!("election/{client}").into(),
        value: vec![b'x'; 256].into(),
        ..Default::default()
    };
    let mut at = stores.iter().cycle();
    let mut store = at.next().context("a store").ok()?;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut refused = 0;
        let (called, done) = loop {
            let called = Instant::now();
            match store.put(put.clone()).await {
                Ok(_) => break (called, Instant::now()),
                Err(_) if stop.load(Ordering::Relaxed) => return None,
                Err(_) => {
                    refused += 1;
                    store = at.next()?;
                    tokio::time::sleep(REST / 5).await;
                }
            }
        };
        told.send(Written { began, called, done, refused }).await.ok()?;
        tokio::time::sleep(REST).await;
    }
    None
}
