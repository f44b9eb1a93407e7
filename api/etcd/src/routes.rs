//! Where a request goes: gRPC methods by path, everything else by HTTP path.

use tonic::Status;

use crate::face::EtcdFace;
use crate::grpc::{Call, Incoming, Outgoing};
use crate::{cluster, health, http, kv, lease, maintenance, watch};

/// Answers one request of a connection.
pub(crate) async fn route(face: EtcdFace, request: Incoming) -> Outgoing {
    let is_grpc = request
        .headers()
        .get(::http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc { grpc(face, request).await } else { http::route(face, request).await }
}

async fn grpc(face: EtcdFace, request: Incoming) -> Outgoing {
    let method = face.metrics().started(request.uri().path());
    let uri = request.uri().clone();
    let call = Call { face, method, request };
    match uri.path() {
        "/etcdserverpb.KV/Range" => call.unary(kv::range).await,
        "/etcdserverpb.KV/RangeStream" => call.server_streaming(kv::range_stream).await,
        "/etcdserverpb.KV/Put" => call.unary(kv::put).await,
        "/etcdserverpb.KV/DeleteRange" => call.unary(kv::delete_range).await,
        "/etcdserverpb.KV/Txn" => call.unary(kv::txn).await,
        "/etcdserverpb.KV/Compact" => call.unary(kv::compact).await,
        "/etcdserverpb.Watch/Watch" => call.streaming(watch::watch).await,
        "/etcdserverpb.Lease/LeaseGrant" => call.unary(lease::grant).await,
        "/etcdserverpb.Lease/LeaseRevoke" => call.unary(lease::revoke).await,
        "/etcdserverpb.Lease/LeaseKeepAlive" => call.streaming(lease::keep_alive).await,
        "/etcdserverpb.Lease/LeaseTimeToLive" => call.unary(lease::time_to_live).await,
        "/etcdserverpb.Lease/LeaseLeases" => call.unary(lease::leases).await,
        "/etcdserverpb.Cluster/MemberList" => call.unary(cluster::member_list).await,
        "/etcdserverpb.Maintenance/Alarm" => call.unary(maintenance::alarm).await,
        "/etcdserverpb.Maintenance/Status" => call.unary(maintenance::status).await,
        "/etcdserverpb.Maintenance/Defragment" => call.unary(maintenance::defragment).await,
        "/etcdserverpb.Maintenance/Hash" => call.unary(maintenance::hash).await,
        "/etcdserverpb.Maintenance/HashKV" => call.unary(maintenance::hash_kv).await,
        "/grpc.health.v1.Health/Check" => call.unary(health::check).await,
        "/grpc.health.v1.Health/Watch" => call.streaming(health::watch).await,
        path => Status::unimplemented(format!("unknown method {path}")).into_http(),
    }
}
