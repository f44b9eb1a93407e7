//! Which method a path stands for.
// upstream: etcd v3 API, `google.api.http` options

/// Path below `/v3/`, and the method's path in gRPC; sorted.
const PATHS: [(&str, &str); 51] = [
    ("auth/authenticate", "/etcdserverpb.Auth/Authenticate"),
    ("auth/disable", "/etcdserverpb.Auth/AuthDisable"),
    ("auth/enable", "/etcdserverpb.Auth/AuthEnable"),
    ("auth/role/add", "/etcdserverpb.Auth/RoleAdd"),
    ("auth/role/delete", "/etcdserverpb.Auth/RoleDelete"),
    ("auth/role/get", "/etcdserverpb.Auth/RoleGet"),
    ("auth/role/grant", "/etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/list", "/etcdserverpb.Auth/RoleList"),
    ("auth/role/revoke", "/etcdserverpb.Auth/RoleRevokePermission"),
    ("auth/status", "/etcdserverpb.Auth/AuthStatus"),
    ("auth/user/add", "/etcdserverpb.Auth/UserAdd"),
    ("auth/user/changepw", "/etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/delete", "/etcdserverpb.Auth/UserDelete"),
    ("auth/user/get", "/etcdserverpb.Auth/UserGet"),
    ("auth/user/grant", "/etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/list", "/etcdserverpb.Auth/UserList"),
    ("auth/user/revoke", "/etcdserverpb.Auth/UserRevokeRole"),
    ("cluster/member/add", "/etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/list", "/etcdserverpb.Cluster/MemberList"),
    ("cluster/member/promote", "/etcdserverpb.Cluster/MemberPromote"),
    ("cluster/member/remove", "/etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", "/etcdserverpb.Cluster/MemberUpdate"),
    ("election/campaign", "/v3electionpb.Election/Campaign"),
    ("election/leader", "/v3electionpb.Election/Leader"),
    ("election/observe", "/v3electionpb.Election/Observe"),
    ("election/proclaim", "/v3electionpb.Election/Proclaim"),
    ("election/resign", "/v3electionpb.Election/Resign"),
    ("kv/compaction", "/etcdserverpb.KV/Compact"),
    ("kv/deleterange", "/etcdserverpb.KV/DeleteRange"),
    ("kv/lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/put", "/etcdserverpb.KV/Put"),
    ("kv/range", "/etcdserverpb.KV/Range"),
    ("kv/txn", "/etcdserverpb.KV/Txn"),
    ("lease/grant", "/etcdserverpb.Lease/LeaseGrant"),
    ("lease/keepalive", "/etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("lock/lock", "/v3lockpb.Lock/Lock"),
    ("lock/unlock", "/v3lockpb.Lock/Unlock"),
    ("maintenance/alarm", "/etcdserverpb.Maintenance/Alarm"),
    ("maintenance/defragment", "/etcdserverpb.Maintenance/Defragment"),
    ("maintenance/downgrade", "/etcdserverpb.Maintenance/Downgrade"),
    ("maintenance/hash", "/etcdserverpb.Maintenance/Hash"),
    ("maintenance/hashkv", "/etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot", "/etcdserverpb.Maintenance/Snapshot"),
    ("maintenance/status", "/etcdserverpb.Maintenance/Status"),
    ("maintenance/transfer-leadership", "/etcdserverpb.Maintenance/MoveLeader"),
    ("watch", "/etcdserverpb.Watch/Watch"),
];

/// The gRPC path of the method at `path`, which starts with `/v3/`.
pub(super) fn method(path: &str) -> Option<&'static str> {
    let path = path.strip_prefix("/v3/")?;
    let found = PATHS.binary_search_by_key(&path, |(path, _)| path).ok()?;
    Some(PATHS[found].1)
}

#[cfg(test)]
mod tests {
    use super::super::schema::SCHEMA;
    use super::*;

    #[test]
    fn the_paths_are_sorted_and_every_method_has_one() {
        assert!(PATHS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(method("/v3/kv/range"), Some("/etcdserverpb.KV/Range"));
        assert_eq!(method("/v3/kv/range/"), None);
        for (_, path) in PATHS {
            assert!(SCHEMA.method(path).is_some(), "{path} is no method");
        }
        for path in SCHEMA.method_paths().filter(|path| !path.ends_with("/RangeStream")) {
            assert!(PATHS.iter().any(|(_, method)| *method == path), "{path} has no path");
        }
    }
}
