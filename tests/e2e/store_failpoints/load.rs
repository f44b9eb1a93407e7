//! Load: clients, watchers, leases, streamed ranges and compactions, and the proof of what they
//! were told, over one crash after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_check::{Answer, Event, Log, Request, Stored, check_requests};
use keelson_client::{GrpcStore, Store as _};
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use rand::SeedableRng as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::leases::{Leases, succeeds};
use super::stage::store;
use crate::kill_run::clients::{Client, stored};
use crate::kill_run::watchers::follow;
use crate::kill_run::{KEYS, Run, equal_hashes, key, wait_until};

/// Clients at once.
const CLIENTS: u64 = 24;
/// Compactions of one round, at most one for each acknowledged write: some are left when a point is
/// set.
const COMPACTIONS: i64 = 40;
/// Between two requests of one kind, and before the next member is asked.
const PAUSE: Duration = Duration::from_millis(10);
/// For whatever was asked and must be answered.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was asked and told so far.
pub(super) struct Load {
    endpoints: Vec<String>,
    stores: Vec<GrpcStore>,
    channels: Vec<Channel>,
    run: Arc<Run>,
    requests: Vec<Request>,
    /// Everything from the first revision on, as one watcher was told it.
    events: Vec<Event>,
    leases: Leases,
    rounds: u64,
    now: Option<Round>,
}

/// The tasks of a round.
struct Round {
    clients: Vec<JoinHandle<Vec<Request>>>,
    leases: JoinHandle<Leases>,
    others: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<Vec<Answer>>>,
    last: watch::Sender<Option<i64>>,
}

impl Load {
    pub(super) fn new(endpoints: &[String]) -> Result<Self> {
        let channel = |endpoint: &String| -> Result<Channel> {
            let endpoint = Endpoint::from_shared(endpoint.clone())?;
            Ok(endpoint.timeout(Duration::from_secs(5)).connect_lazy())
        };
        Ok(Self {
            endpoints: endpoints.to_vec(),
            stores: endpoints.iter().map(|endpoint| store(endpoint)).collect::<Result<_>>()?,
            channels: endpoints.iter().map(channel).collect::<Result<_>>()?,
            run: Arc::new(Run::new()),
            requests: Vec::new(),
            events: Vec::new(),
            leases: Leases::default(),
            rounds: 0,
            now: None,
        })
    }

    /// The last revision that is known.
    fn last(&self) -> i64 {
        self.events.last().map_or(1, |event| event.revision)
    }

    /// Lets all of them loose.
    pub(super) fn begin(&mut self) {
        self.run.stop.store(false, Ordering::Relaxed);
        self.rounds += 1;
        let clients = (0..CLIENTS).map(|client| {
            let random = rand::rngs::SmallRng::seed_from_u64(self.rounds * CLIENTS + client);
            let run = Arc::clone(&self.run);
            tokio::spawn(Client::new(client, self.stores.clone(), run, random).run())
        });
        let clients = clients.collect();
        let leases = std::mem::take(&mut self.leases);
        let leases = leases.run(self.stores.clone(), self.channels.clone(), Arc::clone(&self.run));
        let leases = tokio::spawn(leases);
        let others = vec![
            tokio::spawn(stream(self.channels.clone(), Arc::clone(&self.run))),
            tokio::spawn(compact(self.stores.clone(), self.last(), Arc::clone(&self.run))),
        ];
        let last = watch::Sender::new(None);
        let watchers = (0..self.stores.len()).map(|member| {
            let mut stores = self.stores.clone();
            stores.rotate_left(member);
            tokio::spawn(follow(stores, self.last() + 1, 0..KEYS, last.subscribe()))
        });
        let watchers = watchers.collect();
        self.now = Some(Round { clients, leases, others, watchers, last });
    }

    /// Waits for so many more acknowledged writes.
    pub(super) async fn acknowledged(&self, writes: u64) -> Result<()> {
        let acknowledged = || self.run.acknowledged.load(Ordering::Relaxed);
        let wanted = acknowledged() + writes;
        wait_until(|| acknowledged() >= wanted, "writes").await
    }

    /// Ends the round, and proves that every promise was kept by every member.
    pub(super) async fn end_and_check(&mut self) -> Result<()> {
        let round = self.now.take().context("a round")?;
        self.run.stop.store(true, Ordering::Relaxed);
        for client in round.clients {
            self.requests.extend(client.await?);
        }
        self.leases = round.leases.await?;
        for other in round.others {
            other.await?;
        }
        let mut last = 0;
        for endpoint in &self.endpoints {
            last = last.max(revision(endpoint).await?);
        }
        round.last.send_replace(Some(last));
        let mut told = Vec::new();
        for watcher in round.watchers {
            let answers = tokio::time::timeout(PATIENCE, watcher).await.context("a watcher")??;
            let events = answers.into_iter().flat_map(|answer| answer.events);
            told.push(events.collect::<Vec<Event>>());
        }
        let first = told.pop().context("a watcher")?;
        ensure!(told.iter().all(|other| *other == first), "watchers were told different things");
        self.events.extend(first);
        ensure!(self.last() == last, "{} was told of, {last} is the last", self.last());
        let log = Log::new(self.events.clone())?;
        check_requests(&log, &self.requests)?;
        for endpoint in &self.endpoints {
            // A linearizable read: the member has caught up.
            ensure!(revision(endpoint).await? == last, "{endpoint} is not at {last}");
            state(endpoint, &log).await.with_context(|| endpoint.clone())?;
        }
        self.leases.check(&self.channels).await?;
        equal_hashes(&self.endpoints, last).await
    }

    /// What was proved, in a line.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} crashes: {} requests, {} acknowledged writes, {} events, {} leases",
            self.rounds,
            self.requests.len(),
            self.run.acknowledged.load(Ordering::Relaxed),
            self.events.len(),
            self.leases.len()
        )
    }
}

async fn revision(endpoint: &str) -> Result<i64> {
    Ok(store(endpoint)?.revision().await?)
}

/// What a member has must be what its history comes to.
async fn state(endpoint: &str, log: &Log) -> Result<()> {
    let request = pb::RangeRequest {
        key: key(0).into(),
        range_end: key(KEYS).into(),
        serializable: true,
        ..Default::default()
    };
    let found = store(endpoint)?.range(request).await?.kvs;
    let found: Vec<Stored> = found.iter().map(stored).collect();
    let wanted = (0..KEYS).filter_map(|key| log.state(key, log.last()));
    ensure!(wanted.eq(found.iter().copied()), "another state than its history's");
    Ok(())
}

/// Reads everything as a stream, at one member after the other.
async fn stream(channels: Vec<Channel>, run: Arc<Run>) {
    for channel in channels.iter().cycle() {
        if run.stop.load(Ordering::Relaxed) {
            return;
        }
        let request = pb::RangeRequest {
            key: key(0).into(),
            range_end: key(KEYS).into(),
            ..Default::default()
        };
        if let Ok(answer) = KvClient::new(channel.clone()).range_stream(request).await {
            let mut parts = answer.into_inner();
            while let Ok(Some(_)) = parts.message().await {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Compacts step by step what was there before the round: nobody watches it any more.
async fn compact(stores: Vec<GrpcStore>, last: i64, run: Arc<Run>) {
    let acknowledged = || run.acknowledged.load(Ordering::Relaxed).cast_signed();
    let begun = acknowledged();
    for store in stores.iter().cycle() {
        if run.stop.load(Ordering::Relaxed) {
            return;
        }
        let step = (acknowledged() - begun).min(COMPACTIONS);
        let _gone_or_done = succeeds(store.compact(last - COMPACTIONS + step, true)).await;
        tokio::time::sleep(PAUSE).await;
    }
}
