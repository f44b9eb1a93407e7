//! Locks and elections as RPCs.

use std::time::Duration;

use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::v3electionpb::election_client::ElectionClient;
use keelson_proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use keelson_proto::v3lockpb::lock_client::LockClient;
use keelson_proto::v3lockpb::{LockRequest, UnlockRequest};
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::member::{Member, start};

async fn lease(channel: &Channel, id: i64) {
    let request = pb::LeaseGrantRequest { id, ttl: 600 };
    LeaseClient::new(channel.clone()).lease_grant(request).await.unwrap();
}

async fn candidates(channel: &Channel, name: &str) -> i64 {
    let request = pb::RangeRequest {
        key: format!("{name}/").into(),
        range_end: format!("{name}0").into(),
        count_only: true,
        ..Default::default()
    };
    KvClient::new(channel.clone()).range(request).await.unwrap().into_inner().count
}

async fn begin() -> (Member, Channel) {
    let member = start(FaceConfig::default()).await;
    let channel = member.channel().await;
    (member, channel)
}

// upstream: etcd v3 API, "Lock"
#[tokio::test(flavor = "multi_thread")]
async fn one_holds_a_lock_and_tokens_grow_from_holder_to_holder() {
    let (member, channel) = begin().await;
    for id in [0xaa, 0xbb] {
        lease(&channel, id).await;
    }
    let mut client = LockClient::new(channel.clone());
    let request = |lease| LockRequest { name: "l".into(), lease };
    let first = client.lock(request(0xaa)).await.unwrap().into_inner();
    assert_eq!(first.key, "l/aa");
    let again = client.lock(request(0xaa)).await.unwrap().into_inner();
    assert_eq!((again.key, again.fencing_token), (first.key.clone(), first.fencing_token));

    let second = tokio::spawn({
        let mut client = client.clone();
        async move { client.lock(request(0xbb)).await.unwrap().into_inner() }
    });
    while candidates(&channel, "l").await < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished());
    client.unlock(UnlockRequest { key: first.key.clone() }).await.unwrap();
    let second = second.await.unwrap();
    assert_eq!(second.key, "l/bb");
    assert!(second.fencing_token > first.fencing_token);
    client.unlock(UnlockRequest { key: first.key }).await.unwrap();
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_off_waiting_for_a_lock_leaves_the_queue() {
    let (member, channel) = begin().await;
    lease(&channel, 0xaa).await;
    let mut client = LockClient::new(channel.clone());
    client.lock(LockRequest { name: "l".into(), lease: 0xaa }).await.unwrap();
    let mut hasty = tonic::Request::new(LockRequest { name: "l".into(), lease: 0 });
    hasty.set_timeout(Duration::from_millis(200));
    let refused = client.lock(hasty).await.unwrap_err();
    assert!(matches!(refused.code(), Code::DeadlineExceeded | Code::Cancelled), "{refused}");
    while candidates(&channel, "l").await > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let unknown = client.lock(LockRequest { name: "l".into(), lease: 99 }).await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.message()),
        (Code::Unknown, "etcdserver: requested lease not found")
    );
    member.stop().await;
}

// upstream: etcd v3 API, "Election"
#[tokio::test(flavor = "multi_thread")]
async fn leaders_follow_one_another_and_are_observed() {
    let (member, channel) = begin().await;
    let mut client = ElectionClient::new(channel.clone());
    let name = || LeaderRequest { name: "e".into() };
    let nobody = client.leader(name()).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (Code::Unknown, "election: no leader"));
    let mut observed = client.observe(name()).await.unwrap().into_inner();

    let stand = |lease, value: &'static str| {
        let mut client = client.clone();
        let request = CampaignRequest { name: "e".into(), lease, value: value.into() };
        async move { client.campaign(request).await.unwrap().into_inner().leader.unwrap() }
    };
    for id in [1, 2] {
        lease(&channel, id).await;
    }
    let first = stand(1, "one").await;
    assert_eq!((first.key.as_ref(), first.lease), (&b"e/1"[..], 1));
    let second = tokio::spawn(stand(2, "two"));
    while candidates(&channel, "e").await < 2 {
        tokio::task::yield_now().await;
    }
    let now = client.leader(name()).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((now.value.as_ref(), now.create_revision), (&b"one"[..], first.rev));

    let proclaim = |leader: &LeaderKey, value: &'static str| ProclaimRequest {
        leader: Some(leader.clone()),
        value: value.into(),
    };
    client.proclaim(proclaim(&first, "uno")).await.unwrap();
    client.resign(ResignRequest { leader: Some(first.clone()) }).await.unwrap();
    let second = second.await.unwrap();
    assert!(second.rev > first.rev);
    let late = client.proclaim(proclaim(&first, "late")).await.unwrap_err();
    assert_eq!((late.code(), late.message()), (Code::Unknown, "election: not leader"));
    let unnamed = client.resign(ResignRequest { leader: None }).await.unwrap_err();
    assert_eq!(unnamed.message(), "\"leader\" field must be provided");

    let mut values = Vec::new();
    while values.last() != Some(&"two".to_owned()) {
        let answer = observed.message().await.unwrap().unwrap();
        values.push(String::from_utf8(answer.kv.unwrap().value.to_vec()).unwrap());
    }
    assert_eq!(values, ["one", "uno", "two"]);
    member.stop().await;
}
