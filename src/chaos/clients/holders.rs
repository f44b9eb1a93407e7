//! Locks and elections: taken by a lease, held for a moment, given back. Their token is the revision
//! that made the holder's key.

use std::time::Duration;

use bytes::Bytes;
use keelson_check::{OpRequest, Response};
use keelson_client::{GrpcStore, Store as _, StoreError};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::v3electionpb::election_client::ElectionClient;
use keelson_proto::v3electionpb::{CampaignRequest, LeaderKey, ResignRequest};
use keelson_proto::v3lockpb::lock_client::LockClient;
use keelson_proto::v3lockpb::{LockRequest, UnlockRequest};
use rand::Rng as _;
use tokio::sync::oneshot;

use super::Client;

/// Seconds; longer than a client waits for its turn.
const TTL: i64 = 8;
/// How long it is held.
const HELD_MS: std::ops::Range<u64> = 20..200;

impl Client {
    /// One turn with a lock.
    pub(super) async fn lock(&mut self) {
        let Some(lease) = self.grant(TTL).await else { return };
        let (store, name) = (self.store(), "lock/one".to_owned());
        let (tell, told) = oneshot::channel();
        let taken = self.ask(OpRequest::Lock { name: name.clone(), lease }, async move {
            let request = LockRequest { name: "lock/one".into(), lease };
            let answer = LockClient::new(store.channel()).lock(request).await?.into_inner();
            let token = created(&store, answer.key.clone()).await?;
            let _nobody_waits = tell.send(answer.key);
            Ok(Response { token: Some(token), ..Response::default() })
        });
        let taken = taken.await.and_then(|answer| answer.token);
        if let (Some(token), Ok(key)) = (taken, told.await) {
            self.hold().await;
            let store = self.store();
            self.ask(OpRequest::Unlock { name, token }, async move {
                LockClient::new(store.channel()).unlock(UnlockRequest { key }).await?;
                Ok(Response::default())
            })
            .await;
        }
        // Whether or not it was taken: its place in the queue goes with the lease.
        self.revoke(lease).await;
    }

    /// One turn in an election.
    pub(super) async fn election(&mut self) {
        let Some(lease) = self.grant(TTL).await else { return };
        let (store, name) = (self.store(), "election/one".to_owned());
        let value = self.value();
        let (tell, told) = oneshot::channel();
        let taken = self.ask(OpRequest::Lock { name: name.clone(), lease }, async move {
            let (name, value) = ("election/one".into(), value.into());
            let request = CampaignRequest { name, lease, value };
            let answer = ElectionClient::new(store.channel()).campaign(request).await?;
            let leader = answer.into_inner().leader.unwrap_or_default();
            // Who wins and is gone again has not won for anybody.
            let token = created(&store, leader.key.clone()).await?;
            let _nobody_waits = tell.send(leader);
            Ok(Response { token: Some(token), ..Response::default() })
        });
        let taken = taken.await.and_then(|answer| answer.token);
        if let (Some(token), Ok(leader)) = (taken, told.await) {
            self.hold().await;
            self.resign(name, token, leader).await;
        }
        self.revoke(lease).await;
    }

    async fn resign(&mut self, name: String, token: i64, leader: LeaderKey) {
        let store = self.store();
        self.ask(OpRequest::Unlock { name, token }, async move {
            let request = ResignRequest { leader: Some(leader) };
            ElectionClient::new(store.channel()).resign(request).await?;
            Ok(Response::default())
        })
        .await;
    }

    async fn hold(&mut self) {
        let held = self.random.random_range(HELD_MS);
        tokio::time::sleep(Duration::from_millis(held)).await;
    }
}

/// The revision that made a key.
async fn created(store: &GrpcStore, key: Bytes) -> Result<i64, StoreError> {
    let answer = store.range(pb::RangeRequest { key, ..Default::default() }).await?;
    let kv = answer.kvs.first().ok_or(StoreError::LeaseNotFound)?;
    Ok(kv.create_revision)
}
