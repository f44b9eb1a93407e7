//! A load: clients and watchers, and in the end the check of all that they were told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, ensure};
use keelson_check::{
    Counts, Event, Log, Request, check_registers, check_requests, check_watcher, registers,
};
use keelson_client::{GrpcStore, Store as _};
use keelson_tests::Members;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;

use super::clients::Client;
use super::watchers::{Watchers, history};
use super::{Run, equal_hashes, wait_until};

/// Clients and watchers that are at it.
pub(crate) struct Load {
    pub(crate) run: Arc<Run>,
    pub(crate) watchers: Watchers,
    clients: Vec<JoinHandle<Vec<Request>>>,
}

/// What was told, and was right.
pub(crate) struct Kept {
    pub(crate) requests: Vec<Request>,
    pub(crate) counts: Counts,
    /// How many events there are, and how many watchers.
    pub(crate) events: usize,
    pub(crate) watchers: usize,
}

impl Load {
    /// So many clients, whose values are of this size.
    pub(crate) fn start(
        members: &Members,
        clients: u64,
        value_bytes: usize,
        random: &mut SmallRng,
    ) -> Result<Self> {
        let run = Arc::new(Run::with_values(value_bytes));
        let mut started = Vec::new();
        for client in 0..clients {
            let random = SmallRng::seed_from_u64(random.random());
            let client = Client::new(client, stores(members)?, Arc::clone(&run), random);
            started.push(tokio::spawn(client.run()));
        }
        let mut watchers = Watchers::new(stores(members)?);
        watchers.open_early();
        Ok(Self { run, watchers, clients: started })
    }

    /// Waits for so many more acknowledged writes.
    pub(crate) async fn writes(&self, count: u64) -> Result<()> {
        let acknowledged = || self.run.acknowledged.load(Ordering::Relaxed);
        let wanted = acknowledged() + count;
        wait_until(|| acknowledged() >= wanted, "writes").await
    }

    /// Ends it, and holds all that was told against the members' common history.
    pub(crate) async fn check(self, members: &Members) -> Result<Kept> {
        self.run.stop.store(true, Ordering::Relaxed);
        let mut requests = Vec::new();
        for client in self.clients {
            requests.extend(client.await?);
        }
        let log = common_log(members).await?;
        equal_hashes(members.endpoints(), log.last()).await?;
        let counts = check_requests(&log, &requests)?;
        check_registers(&registers(&log, &requests))?;
        let watched = self.watchers.end(&log).await?;
        for watcher in &watched {
            check_watcher(&log, watcher)?;
        }
        Ok(Kept { requests, counts, events: log.events().len(), watchers: watched.len() })
    }
}

fn stores(members: &Members) -> Result<Vec<GrpcStore>> {
    (0..members.endpoints().len()).map(|index| members.client(index)).collect()
}

/// The whole history up to now, which must be the same at every member.
async fn common_log(members: &Members) -> Result<Log> {
    let mut first: Option<Vec<Event>> = None;
    let last = members.client(0)?.revision().await?;
    for index in 0..members.endpoints().len() {
        members.ready(index).await?;
        let events = history(&members.client(index)?, last).await?;
        match &first {
            None => first = Some(events),
            Some(first) => ensure!(*first == events, "member {index} has another history"),
        }
    }
    Ok(Log::new(first.context("a member")?)?)
}
