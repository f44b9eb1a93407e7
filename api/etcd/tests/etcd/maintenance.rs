//! Quota and alarms, snapshots, leadership.

use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;
use keelson_storage::engine::SortedMap;
use keelson_storage::machine::{Options, StateMachine};
use pb::alarm_request::AlarmAction;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use sha2::Digest;
use tonic::Code;

use crate::member::start;

fn put(key: String, bytes: usize) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: vec![b'v'; bytes].into(), ..Default::default() }
}

// upstream: etcd v3 API, "Alarm": NOSPACE
#[tokio::test(flavor = "multi_thread")]
async fn a_quota_refuses_growth_until_it_is_compacted_and_disarmed() {
    let member = start(FaceConfig { quota_bytes: 13 * 4096, ..FaceConfig::default() }).await;
    let mut kv = KvClient::new(member.channel().await);
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let mut written = 0;
    let refused = loop {
        match kv.put(put("key".to_owned(), 4096)).await {
            Ok(_) => written += 1,
            Err(refused) => break refused,
        }
    };
    assert!((1..13).contains(&written), "{written}");
    let no_space = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    assert_eq!((refused.code(), refused.message()), no_space);
    let small = kv.put(put("small".to_owned(), 1)).await.unwrap_err();
    assert_eq!((small.code(), small.message()), no_space);

    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.db_size_quota, status.errors.len()), (13 * 4096, 1));
    assert!(status.errors[0].contains("NOSPACE"), "{:?}", status.errors);
    let alarms = maintenance.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner();
    assert_eq!(alarms.alarms.len(), 1);

    let get = pb::RangeRequest { key: "key".into(), ..Default::default() };
    let found = kv.range(get).await.unwrap().into_inner();
    let revision = found.header.unwrap().revision;
    kv.compact(pb::CompactionRequest { revision, physical: true }).await.unwrap();
    let still = kv.put(put("small".to_owned(), 1)).await.unwrap_err();
    assert_eq!(still.message(), no_space.1);
    let mut disarm = pb::AlarmRequest { member_id: member.node.node_id(), ..Default::default() };
    disarm.set_action(AlarmAction::Deactivate);
    disarm.set_alarm(pb::AlarmType::Nospace);
    maintenance.alarm(disarm).await.unwrap();
    kv.put(put("small".to_owned(), 1)).await.unwrap();
    member.stop().await;
}

// upstream: etcd v3 API, "Alarm": CORRUPT
#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_cluster_takes_no_writes() {
    let member = start(FaceConfig::default()).await;
    let mut kv = KvClient::new(member.channel().await);
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let mut alarm = pb::AlarmRequest { member_id: member.node.node_id(), ..Default::default() };
    alarm.set_alarm(pb::AlarmType::Corrupt);
    alarm.set_action(AlarmAction::Activate);
    maintenance.alarm(alarm).await.unwrap();
    let refused = kv.put(put("k".to_owned(), 1)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::DataLoss, "etcdserver: corrupt cluster")
    );
    alarm.set_action(AlarmAction::Deactivate);
    maintenance.alarm(alarm).await.unwrap();
    kv.put(put("k".to_owned(), 1)).await.unwrap();
    member.stop().await;
}

// upstream: etcd v3 API, "Snapshot"
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_has_a_known_length_and_a_hash_and_is_the_whole_state() {
    let member = start(FaceConfig::default()).await;
    let mut kv = KvClient::new(member.channel().await);
    for number in 0..300 {
        kv.put(put(format!("key{number}"), number)).await.unwrap();
    }
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let parts = maintenance.snapshot(pb::SnapshotRequest {}).await.unwrap();
    let mut parts = parts.into_inner();
    let (mut file, mut total, mut last) = (Vec::new(), None, None);
    while let Some(part) = parts.message().await.unwrap() {
        assert!(part.blob.len() <= 32 << 10);
        assert_eq!(part.version, "3.7.0");
        file.extend_from_slice(&part.blob);
        let expected = *total.get_or_insert(part.blob.len() as u64 + part.remaining_bytes);
        if part.remaining_bytes > 0 {
            assert_eq!(file.len() as u64 + part.remaining_bytes, expected);
        }
        last = Some(part);
    }
    assert_eq!(file.len() % 512, 32);
    let (content, hash) = file.split_at(file.len() - 32);
    assert_eq!(Some(content.len() as u64), total);
    assert_eq!(last.unwrap().blob, hash);
    assert_eq!(&sha2::Sha256::digest(content)[..], hash);

    let engine = std::sync::Arc::new(SortedMap::new());
    let mut restored =
        StateMachine::open(engine, Options { compaction_thread: false, ..Options::default() })
            .unwrap();
    restored.install(content).unwrap();
    let (there, here) = (member.node.view(), restored.view());
    assert_eq!(here.revision(), there.revision());
    assert_eq!(here.hash_kv(0).unwrap().hash, there.hash_kv(0).unwrap().hash);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_to_voters_only() {
    let member = start(FaceConfig::default()).await;
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let request = pb::MoveLeaderRequest { target_id: 99 };
    let refused = maintenance.move_leader(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, "etcdserver: bad leader transferee")
    );
    member.stop().await;
}
