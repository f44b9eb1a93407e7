//! The store in this process and over gRPC answer alike.

use bytes::Bytes;
use keelson_client::{GrpcStore, GrpcStoreConfig, Store, StoreError, WatchItem, WatchSpec};
use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;

use crate::member::start;

#[tokio::test(flavor = "multi_thread")]
async fn both_stores_do_the_same() {
    let member = start(FaceConfig::default()).await;
    let grpc = GrpcStore::new(&GrpcStoreConfig {
        endpoints: vec![format!("http://{}", member.address)],
        ..Default::default()
    })
    .unwrap();
    let stores: [&dyn Store; 2] = [&member.server.face(), &grpc];
    for (number, store) in stores.into_iter().enumerate() {
        let key = Bytes::from(format!("key{number}"));
        let spec = WatchSpec { key: key.clone(), prev_kv: true, ..WatchSpec::default() };
        let mut watcher = store.watch(spec).await.unwrap();
        assert_eq!(watcher.created_revision, store.revision().await.unwrap());
        let put = |value: &'static str| pb::PutRequest {
            key: key.clone(),
            value: value.into(),
            ..Default::default()
        };
        let first = store.put(put("1")).await.unwrap().header.unwrap().revision;
        store.put(put("2")).await.unwrap();
        let mut events = Vec::new();
        while events.len() < 2 {
            match watcher.next().await.unwrap().unwrap() {
                WatchItem::Events { events: more, .. } => events.extend(more),
                WatchItem::Progress { .. } => panic!("not asked for"),
            }
        }
        assert_eq!(events[1].prev_kv.as_ref().unwrap().value, "1");
        watcher.handle().request_progress();
        match watcher.next().await.unwrap().unwrap() {
            WatchItem::Progress { revision } => assert_eq!(revision, first + 1),
            WatchItem::Events { .. } => panic!("nothing happened"),
        }
        let lease = store.lease_grant(0, 60).await.unwrap();
        assert!(lease > 0);
        assert_eq!(store.lease_keep_alive(lease).await.unwrap(), 60);
        assert_eq!(store.lease_keep_alive(lease - 1).await.unwrap(), 0);
        store.lease_revoke(lease).await.unwrap();
        assert!(matches!(store.lease_revoke(lease).await, Err(StoreError::LeaseNotFound)));
        store.compact(first + 1, true).await.unwrap();
        let old = pb::RangeRequest { key: key.clone(), revision: first, ..Default::default() };
        assert!(matches!(store.range(old).await, Err(StoreError::Compacted)));
        let spec = WatchSpec { key: key.clone(), start_revision: first, ..WatchSpec::default() };
        let mut watcher = store.watch(spec).await.unwrap();
        assert!(matches!(watcher.next().await, Some(Err(StoreError::Compacted))));
        let large = pb::PutRequest { value: vec![0; 1_572_864].into(), ..put("") };
        assert!(matches!(store.put(large).await, Err(StoreError::TooLarge)));
        assert_eq!(store.status().await.unwrap().version, "3.7.1");
    }
    drop(grpc);
    member.stop().await;
}
