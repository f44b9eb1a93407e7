//! Where a call goes: gRPC methods by path.

use std::str::Utf8Error;

use http::HeaderMap;
use keelson_failpoint::failpoint;
use tonic::Status;

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::grpc::{Call, Incoming, Outgoing};
use crate::server::Certificate;
use crate::{auth, cluster, election, health, kv, lease, lock, maintenance, watch};

/// What a member without a vote answers; ranges only if they are serializable.
// upstream: etcd v3.7 `isRPCSupportedForLearner`
const LEARNERS_ANSWER: [&str; 5] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Snapshot",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// What a client says to be.
pub(crate) fn client_version(headers: &HeaderMap) -> Result<&str, Utf8Error> {
    let version = headers.get("client-api-version");
    version.map_or(Ok("unknown"), |version| std::str::from_utf8(version.as_bytes()))
}

/// Answers one call.
pub(crate) async fn grpc(face: EtcdFace, request: Incoming) -> Outgoing {
    let certificate = request.extensions().get::<Certificate>();
    let face = face.on_behalf(request.headers(), certificate.map(|one| &one.0));
    let method = face.metrics().started(request.uri().path());
    match client_version(request.headers()) {
        Ok(version) => face.metrics().requests.came(version, method.is_stream()),
        Err(_) => {
            let refusal = Status::invalid_argument("etcdserver: invalid client api version");
            return refusal.into_http();
        }
    }
    let uri = request.uri().clone();
    let call = Call { face, method, request };
    if call.face.node().is_learner() && !LEARNERS_ANSWER.contains(&uri.path()) {
        return call.refuse(&FaceError::Learner);
    }
    failpoint!(await afterIsMemberExist);
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
        "/etcdserverpb.Cluster/MemberAdd" => call.unary(cluster::member_add).await,
        "/etcdserverpb.Cluster/MemberRemove" => call.unary(cluster::member_remove).await,
        "/etcdserverpb.Cluster/MemberUpdate" => call.unary(cluster::member_update).await,
        "/etcdserverpb.Cluster/MemberPromote" => call.unary(cluster::member_promote).await,
        "/etcdserverpb.Cluster/MemberList" => call.unary(cluster::member_list).await,
        "/etcdserverpb.Maintenance/Alarm" => call.unary(maintenance::alarm).await,
        "/etcdserverpb.Maintenance/Status" => call.unary(maintenance::status).await,
        "/etcdserverpb.Maintenance/Defragment" => call.unary(maintenance::defragment).await,
        "/etcdserverpb.Maintenance/Hash" => call.unary(maintenance::hash).await,
        "/etcdserverpb.Maintenance/HashKV" => call.unary(maintenance::hash_kv).await,
        "/etcdserverpb.Maintenance/Snapshot" => call.server_streaming(maintenance::snapshot).await,
        "/etcdserverpb.Maintenance/MoveLeader" => call.unary(maintenance::move_leader).await,
        "/etcdserverpb.Maintenance/Downgrade" => call.unary(maintenance::downgrade).await,
        "/etcdserverpb.Auth/AuthEnable" => call.unary(auth::auth_enable).await,
        "/etcdserverpb.Auth/AuthDisable" => call.unary(auth::auth_disable).await,
        "/etcdserverpb.Auth/AuthStatus" => call.unary(auth::auth_status).await,
        "/etcdserverpb.Auth/Authenticate" => call.unary(auth::authenticate).await,
        "/etcdserverpb.Auth/UserAdd" => call.unary(auth::user_add).await,
        "/etcdserverpb.Auth/UserGet" => call.unary(auth::user_get).await,
        "/etcdserverpb.Auth/UserList" => call.unary(auth::user_list).await,
        "/etcdserverpb.Auth/UserDelete" => call.unary(auth::user_delete).await,
        "/etcdserverpb.Auth/UserChangePassword" => call.unary(auth::user_change_password).await,
        "/etcdserverpb.Auth/UserGrantRole" => call.unary(auth::user_grant_role).await,
        "/etcdserverpb.Auth/UserRevokeRole" => call.unary(auth::user_revoke_role).await,
        "/etcdserverpb.Auth/RoleAdd" => call.unary(auth::role_add).await,
        "/etcdserverpb.Auth/RoleGet" => call.unary(auth::role_get).await,
        "/etcdserverpb.Auth/RoleList" => call.unary(auth::role_list).await,
        "/etcdserverpb.Auth/RoleDelete" => call.unary(auth::role_delete).await,
        "/etcdserverpb.Auth/RoleGrantPermission" => call.unary(auth::role_grant_permission).await,
        "/etcdserverpb.Auth/RoleRevokePermission" => call.unary(auth::role_revoke_permission).await,
        "/v3lockpb.Lock/Lock" => call.unary(lock::lock).await,
        "/v3lockpb.Lock/Unlock" => call.unary(lock::unlock).await,
        "/v3electionpb.Election/Campaign" => call.unary(election::campaign).await,
        "/v3electionpb.Election/Proclaim" => call.unary(election::proclaim).await,
        "/v3electionpb.Election/Leader" => call.unary(election::leader).await,
        "/v3electionpb.Election/Observe" => call.server_streaming(election::observe).await,
        "/v3electionpb.Election/Resign" => call.unary(election::resign).await,
        "/grpc.health.v1.Health/Check" => call.unary(health::check).await,
        "/grpc.health.v1.Health/Watch" => call.streaming(health::watch).await,
        path => Status::unimplemented(format!("unknown method {path}")).into_http(),
    }
}
