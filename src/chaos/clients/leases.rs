//! Leases: granted, with a key on them, renewed for a while; then revoked or left to end.

use std::time::Duration;

use keelson_check::{OpRequest, Response};
use keelson_client::Store as _;
use keelson_proto::etcdserverpb as pb;
use pb::lease_client::LeaseClient;
use rand::Rng as _;

use super::Client;

/// Seconds; etcd grants no less with its usual timings.
const TTL: i64 = 2;
/// Between two renewals.
const PAUSE: Duration = Duration::from_millis(600);

impl Client {
    /// One lease, from its grant to its end.
    pub(super) async fn lease(&mut self) {
        let Some(lease) = self.grant(TTL).await else { return };
        self.write(format!("leased/{lease:x}"), lease).await;
        for _ in 0..self.random.random_range(0..4) {
            tokio::time::sleep(PAUSE).await;
            self.renew(lease).await;
        }
        if self.random.random_ratio(1, 3) {
            return self.revoke(lease).await;
        }
        // Left to end: it is there for a while yet, and then it is not.
        let ttl = Duration::from_secs(TTL.unsigned_abs());
        let early = Duration::from_millis(self.random.random_range(100..400));
        tokio::time::sleep(ttl.saturating_sub(early)).await;
        self.renew(lease).await;
    }

    pub(super) async fn grant(&mut self, ttl: i64) -> Option<i64> {
        let channel = self.store().channel();
        let granted = self.ask(OpRequest::Grant { ttl }, async move {
            let request = pb::LeaseGrantRequest { id: 0, ttl };
            let answer = LeaseClient::new(channel).lease_grant(request).await?.into_inner();
            let (lease, ttl) = (Some(answer.id), Some(answer.ttl));
            Ok(Response { lease, ttl, ..Response::default() })
        });
        granted.await?.lease
    }

    async fn renew(&mut self, lease: i64) {
        let store = self.store();
        self.ask(OpRequest::KeepAlive { lease }, async move {
            let ttl = Some(store.lease_keep_alive(lease).await?);
            Ok(Response { ttl, ..Response::default() })
        })
        .await;
    }

    pub(super) async fn revoke(&mut self, lease: i64) {
        let store = self.store();
        self.ask(OpRequest::Revoke { lease }, async move {
            store.lease_revoke(lease).await?;
            Ok(Response::default())
        })
        .await;
    }
}
