//! Leases: granted, renewed, asked about and revoked; those acknowledged must be there, or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_client::{GrpcStore, Store as _};
use keelson_proto::etcdserverpb as pb;
use pb::lease_client::LeaseClient;
use tonic::transport::Channel;

use crate::kill_run::Run;

/// They outlast the test.
const TTL_SECONDS: i64 = 10_000;
/// Between two leases.
const PAUSE: Duration = Duration::from_millis(20);
/// A member that takes up a snapshot never answers what it was asked before, and is in it.
const LIMIT: Duration = Duration::from_secs(1);

/// What is known of a lease.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    Granted,
    Revoked,
    /// The last request about it was not answered.
    Open,
}

/// All leases that were asked for.
#[derive(Debug, Default)]
pub(super) struct Leases {
    known: BTreeMap<i64, Known>,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Asks one member after the other until the run is stopped.
    pub(super) async fn run(
        mut self,
        stores: Vec<GrpcStore>,
        channels: Vec<Channel>,
        run: Arc<Run>,
    ) -> Self {
        for (store, channel) in stores.iter().zip(&channels).cycle() {
            if run.stop.load(Ordering::Relaxed) {
                break;
            }
            let id = self.known.last_key_value().map_or(1, |(last, _)| last + 1);
            self.known.insert(id, Known::Open);
            if succeeds(store.lease_grant(id, TTL_SECONDS)).await {
                self.known.insert(id, Known::Granted);
                let _renewed_or_not = succeeds(store.lease_keep_alive(id)).await;
                let mut client = LeaseClient::new(channel.clone());
                let request = pb::LeaseTimeToLiveRequest { id, keys: true };
                let _told_or_not = succeeds(client.lease_time_to_live(request)).await;
                if id % 2 == 0 {
                    self.known.insert(id, Known::Open);
                    if succeeds(store.lease_revoke(id)).await {
                        self.known.insert(id, Known::Revoked);
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        self
    }

    /// Each member must have those that were granted, and none that was revoked.
    pub(super) async fn check(&self, channels: &[Channel]) -> Result<()> {
        for channel in channels {
            let mut client = LeaseClient::new(channel.clone());
            let answer = client.lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner();
            let found: BTreeSet<i64> = answer.leases.iter().map(|lease| lease.id).collect();
            for (id, known) in &self.known {
                let is_there = found.contains(id);
                let fits = match known {
                    Known::Granted => is_there,
                    Known::Revoked => !is_there,
                    Known::Open => true,
                };
                ensure!(fits, "lease {id} is {known:?}, and there: {is_there}");
            }
        }
        Ok(())
    }
}

/// Whether a request is answered well, and in time.
pub(super) async fn succeeds<T, E>(request: impl Future<Output = Result<T, E>>) -> bool {
    matches!(tokio::time::timeout(LIMIT, request).await, Ok(Ok(_)))
}
