//! Requests and their errors, in etcd's words and codes.

use std::time::Duration;

use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::request_op::Request;
use tonic::{Code, Status};

use crate::member::start;

fn put(key: &'static str, value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

// upstream: etcd v3 API, error table
#[tokio::test(flavor = "multi_thread")]
async fn errors_have_etcds_codes_and_words() {
    let member = start(FaceConfig::default()).await;
    let mut kv = KvClient::new(member.channel().await);
    let mut lease = LeaseClient::new(member.channel().await);
    let error = |code: Code, text: &str| (code, format!("etcdserver: {text}"));
    let invalid = |text: &str| error(Code::InvalidArgument, text);

    assert_eq!(refused(kv.put(put("", vec![])).await), invalid("key is not provided"));
    let request = pb::PutRequest { lease: 5, ..put("a", vec![]) };
    assert_eq!(refused(kv.put(request).await), error(Code::NotFound, "requested lease not found"));
    let request = pb::PutRequest { ignore_value: true, ..put("a", vec![]) };
    assert_eq!(refused(kv.put(request).await), invalid("key not found"));
    let request = pb::RangeRequest { key: "a".into(), revision: 9, ..Default::default() };
    assert_eq!(
        refused(kv.range(request).await),
        error(Code::OutOfRange, "mvcc: required revision is a future revision")
    );
    let request = pb::CompactionRequest { revision: 9, physical: false };
    assert_eq!(
        refused(kv.compact(request).await),
        error(Code::OutOfRange, "mvcc: required revision is a future revision")
    );
    let op = || pb::RequestOp { request: Some(Request::RequestPut(put("a", vec![]))) };
    let request = pb::TxnRequest { success: vec![op(), op()], ..Default::default() };
    assert_eq!(refused(kv.txn(request).await), invalid("duplicate key given in txn request"));
    let request = pb::TxnRequest { success: vec![op(); 129], ..Default::default() };
    assert_eq!(refused(kv.txn(request).await), invalid("too many operations in txn request"));
    assert_eq!(
        refused(kv.put(put("a", vec![0; 1_572_864])).await),
        invalid("request is too large")
    );
    let (code, text) = refused(kv.put(put("a", vec![0; 3 << 20])).await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(text.starts_with("grpc: received message larger than max ("), "{text}");
    let request = pb::LeaseGrantRequest { ttl: 9_000_000_001, id: 0 };
    assert_eq!(
        refused(lease.lease_grant(request).await),
        error(Code::OutOfRange, "too large lease TTL")
    );
    lease.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 3 }).await.unwrap();
    assert_eq!(
        refused(lease.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 3 }).await),
        error(Code::FailedPrecondition, "lease already exists")
    );
    assert_eq!(
        refused(lease.lease_revoke(pb::LeaseRevokeRequest { id: 4 }).await),
        error(Code::NotFound, "requested lease not found")
    );
    let revision = kv.range(pb::RangeRequest { key: "a".into(), ..Default::default() }).await;
    assert_eq!(revision.unwrap().into_inner().header.unwrap().revision, 1, "nothing was written");
    member.stop().await;
}

// upstream: etcd v3.7 API, "RangeStream": concatenated, the parts are the range
#[tokio::test(flavor = "multi_thread")]
async fn a_range_in_parts_is_the_range() {
    let member = start(FaceConfig { max_request_bytes: 4096, ..FaceConfig::default() }).await;
    let mut kv = KvClient::new(member.channel().await);
    for n in 0..60 {
        let key = format!("k{n:02}").into();
        kv.put(pb::PutRequest { key, ..put("", vec![7; 100]) }).await.unwrap();
    }
    kv.put(put("elsewhere", vec![7])).await.unwrap();
    for limit in [0, 25, 60, 99] {
        let request = pb::RangeRequest {
            key: "k".into(),
            range_end: "l".into(),
            limit,
            ..Default::default()
        };
        let whole = kv.range(request.clone()).await.unwrap().into_inner();
        // Now, at the current revision by name, and at an older one with the same keys.
        for revision in [0, whole.header.unwrap().revision, 61] {
            let mut parts = kv
                .range_stream(pb::RangeRequest { revision, ..request.clone() })
                .await
                .unwrap()
                .into_inner();
            let mut joined = pb::RangeResponse::default();
            let mut count = 0;
            while let Some(part) = parts.message().await.unwrap() {
                let part = part.range_response.unwrap();
                assert!(joined.header.is_none(), "only the last part has a header");
                count += 1;
                joined.kvs.extend(part.kvs);
                (joined.header, joined.count, joined.more) = (part.header, part.count, part.more);
            }
            assert!(count > 1);
            assert_eq!(joined, whole);
        }
    }
    let request = pb::RangeRequest { key: "k".into(), sort_order: 2, ..Default::default() };
    assert_eq!(refused(kv.range_stream(request).await).0, Code::Unimplemented);
    member.stop().await;
}

// upstream: etcd v3.7 API, "RangeStream": all parts are of one revision
#[tokio::test(flavor = "multi_thread")]
async fn a_range_in_parts_is_of_one_revision_however_long_its_client_rests() {
    for range_hold in [Duration::from_secs(60), Duration::ZERO] {
        let config = FaceConfig { max_request_bytes: 4096, range_hold, ..FaceConfig::default() };
        let member = start(config).await;
        let mut kv = KvClient::new(member.channel().await);
        for n in 0..300 {
            let key = format!("k{n:03}").into();
            kv.put(pb::PutRequest { key, ..put("", vec![7; 3000]) }).await.unwrap();
        }
        for (limit, keys_only) in [(0, false), (0, true), (250, false)] {
            let request = pb::RangeRequest {
                key: "k".into(),
                range_end: "l".into(),
                limit,
                keys_only,
                ..Default::default()
            };
            let whole = kv.range(request.clone()).await.unwrap().into_inner();
            let mut parts = kv.range_stream(request).await.unwrap().into_inner();
            let mut joined = parts.message().await.unwrap().unwrap().range_response.unwrap();
            let range = pb::DeleteRangeRequest { key: "k295".into(), ..Default::default() };
            kv.delete_range(range).await.unwrap();
            for n in [1, 100, 298] {
                let key = format!("k{n:03}").into();
                kv.put(pb::PutRequest { key, ..put("", vec![8]) }).await.unwrap();
            }
            while let Some(part) = parts.message().await.unwrap() {
                let part = part.range_response.unwrap();
                joined.kvs.extend(part.kvs);
                (joined.header, joined.count, joined.more) = (part.header, part.count, part.more);
            }
            assert_eq!(joined, whole);
            kv.put(put("k295", vec![9])).await.unwrap();
        }
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_read_and_headers_are_whole() {
    let member = start(FaceConfig::default()).await;
    let mut kv = KvClient::new(member.channel().await);
    for n in 0..3 {
        let response = kv.put(put("a", vec![n])).await.unwrap().into_inner();
        let header = response.header.unwrap();
        assert_eq!(header.revision, 2 + i64::from(n));
        assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
    }
    for serializable in [true, false] {
        let request = pb::RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            serializable,
            ..Default::default()
        };
        let response = kv.range(request).await.unwrap().into_inner();
        assert_eq!((response.count, response.kvs[0].value.as_ref()), (1, &[2][..]));
    }
    let request = pb::CompactionRequest { revision: 3, physical: true };
    kv.compact(request).await.unwrap();
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let hash = maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_eq!((hash.compact_revision, hash.hash_revision), (3, 4));
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.version, "3.7.1");
    assert_eq!(status.leader, status.header.unwrap().member_id);
    assert!(status.raft_applied_index > 0);
    member.stop().await;
}
