//! Whoever leads goes on leading while disks are slow and processors are busy: heartbeats wait for
//! neither.

use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keelson_client::{GrpcStore, Store as _};
use keelson_proto::etcdserverpb as pb;

use super::stage::Stage;

/// For so many seconds under each condition, with short timings and with etcd's; without it, until
/// a few writes are through.
const SECONDS: &str = "KEELSON_STEADY_SECONDS";
const SLOW: &str = "walBeforeSync";
const WRITERS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_elected_while_a_sync_takes_longer_than_an_election() -> Result<()> {
    let seconds = std::env::var(SECONDS).ok().and_then(|value| value.parse().ok());
    let Some(seconds) = seconds else {
        let stage = start(100, 1000)?;
        for member in 0..3 {
            stage.put(member, SLOW, "sleep(2500)")?;
        }
        return same_leader(&stage, |written, _| written >= WRITERS as u64).await;
    };
    for (heartbeat, election) in [(20, 100), (100, 1000)] {
        let stage = start(heartbeat, election)?;
        for member in 0..3 {
            stage.put(member, SLOW, "sleep(100)")?;
        }
        let long = |_, passed| passed >= Duration::from_secs(seconds);
        same_leader(&stage, long).await?;
        for member in 0..3 {
            stage.clear(member, SLOW)?;
        }
        let _busy = Busy::start()?;
        same_leader(&stage, long).await?;
    }
    Ok(())
}

fn start(heartbeat: u64, election: u64) -> Result<Stage> {
    let flags =
        [format!("--heartbeat-interval={heartbeat}"), format!("--election-timeout={election}")];
    let mut stage = Stage::with(3, &flags)?;
    stage.start_all()?;
    Ok(stage)
}

/// Writes until it is enough; the term must be the same then.
async fn same_leader(stage: &Stage, enough: impl Fn(u64, Duration) -> bool) -> Result<()> {
    let leader = stage.store(stage.leader().await?)?;
    let term = leader.status().await?.raft_term;
    let (begun, written) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = stage.store(writer % 3)?;
            Ok(tokio::spawn(write(store, writer, written.clone())))
        })
        .collect::<Result<_>>()?;
    while !enough(written.load(Ordering::Relaxed), begun.elapsed()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = leader.status().await?.raft_term;
        ensure!(now == term, "term {term} became {now} after {:?}", begun.elapsed());
    }
    writers.iter().for_each(|writer| writer.abort());
    ensure!(written.load(Ordering::Relaxed) > 0, "nothing was written");
    println!("term {term} for {:?}, {} writes", begun.elapsed(), written.load(Ordering::Relaxed));
    Ok(())
}

async fn write(store: GrpcStore, writer: usize, written: Arc<AtomicU64>) {
    loop {
        let put = pb::PutRequest {
            key: format!("steady/{writer}").into(),
            value: vec![b'x'; 256].into(),
            ..Default::default()
        };
        if store.put(put).await.is_ok() {
            written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A process that uses all that a processor has; ended when dropped.
struct Busy(Child);

impl Busy {
    fn start() -> Result<Self> {
        Ok(Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _status = self.0.wait();
    }
}
