//! Users, roles, permissions and what they guard: the same steps against a real etcd, where the
//! machine has one, with the same answers and errors.

use std::collections::BTreeMap;

use keelson_etcd_api::FaceConfig;
use keelson_proto::authpb::{self, permission::Type};
use keelson_proto::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::request_op::Request as Op;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::against_etcd::{connect, start_etcd};
use crate::member::start;

#[derive(Debug, Clone)]
enum Step {
    /// Who asks from here on; empty: nobody.
    As(&'static str),
    Login(&'static str, &'static str),
    Enable,
    Disable,
    UserAdd(&'static str, &'static str),
    UserAddWithout(&'static str),
    UserDelete(&'static str),
    UserGet(&'static str),
    UserList,
    Password(&'static str, &'static str),
    Grant(&'static str, &'static str),
    Revoke(&'static str, &'static str),
    RoleAdd(&'static str),
    RoleDelete(&'static str),
    RoleGet(&'static str),
    RoleList,
    Allow(&'static str, Type, &'static str, &'static str),
    Deny(&'static str, &'static str, &'static str),
    Range(&'static str, &'static str),
    Put(&'static str, i64, bool),
    Delete(&'static str, &'static str, bool),
    Txn(pb::TxnRequest),
    LeaseGrant(i64),
    LeaseRevoke(i64),
    TimeToLive(i64, bool),
    KeepAlive(i64),
    Leases,
    Watch(&'static str, &'static str),
    Alarms,
    Disarm,
    HashKv,
    /// Not asked of 3.4, which has not this rule yet: 3.7 answers so.
    Newer(Box<Step>, &'static str),
}

const DENIED: &str = "PermissionDenied: etcdserver: permission denied";

fn denied(step: Step) -> Step {
    Step::Newer(Box::new(step), DENIED)
}

struct Side {
    channel: Channel,
    tokens: BTreeMap<&'static str, String>,
    user: &'static str,
}

/// What is compared: the answer without ids and revisions, or code and words.
pub(crate) fn told<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    plain: impl FnOnce(&mut T),
) -> String {
    match answer {
        Ok(answer) => {
            let mut answer = answer.into_inner();
            plain(&mut answer);
            format!("{answer:?}")
        }
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

impl Side {
    fn new(channel: Channel) -> Self {
        Self { channel, tokens: BTreeMap::new(), user: "" }
    }

    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.tokens.get(self.user) {
            request.metadata_mut().insert("token", token.parse().unwrap());
        }
        request
    }

    async fn take(&mut self, step: Step) -> String {
        let mut auth = AuthClient::new(self.channel.clone());
        macro_rules! auth {
            ($method:ident, $message:expr) => {
                told(auth.$method(self.with($message)).await, |answer| answer.header = None)
            };
        }
        match step {
            Step::As(user) => {
                self.user = user;
                String::new()
            }
            Step::Login(name, password) => {
                let request =
                    pb::AuthenticateRequest { name: name.into(), password: password.into() };
                match auth.authenticate(request).await {
                    Ok(answer) => {
                        self.tokens.insert(name, answer.into_inner().token);
                        self.user = name;
                        "token".to_owned()
                    }
                    Err(status) => format!("{:?}: {}", status.code(), status.message()),
                }
            }
            Step::Enable => auth!(auth_enable, pb::AuthEnableRequest {}),
            Step::Disable => auth!(auth_disable, pb::AuthDisableRequest {}),
            Step::UserAdd(name, password) => auth!(
                user_add,
                pb::AuthUserAddRequest {
                    name: name.into(),
                    password: password.into(),
                    ..Default::default()
                }
            ),
            Step::UserAddWithout(name) => auth!(
                user_add,
                pb::AuthUserAddRequest {
                    name: name.into(),
                    options: Some(authpb::UserAddOptions { no_password: true }),
                    ..Default::default()
                }
            ),
            Step::UserDelete(name) => {
                auth!(user_delete, pb::AuthUserDeleteRequest { name: name.into() })
            }
            Step::UserGet(name) => auth!(user_get, pb::AuthUserGetRequest { name: name.into() }),
            Step::UserList => auth!(user_list, pb::AuthUserListRequest {}),
            Step::Password(name, password) => auth!(
                user_change_password,
                pb::AuthUserChangePasswordRequest {
                    name: name.into(),
                    password: password.into(),
                    ..Default::default()
                }
            ),
            Step::Grant(user, role) => auth!(
                user_grant_role,
                pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() }
            ),
            Step::Revoke(name, role) => auth!(
                user_revoke_role,
                pb::AuthUserRevokeRoleRequest { name: name.into(), role: role.into() }
            ),
            Step::RoleAdd(name) => auth!(role_add, pb::AuthRoleAddRequest { name: name.into() }),
            Step::RoleDelete(role) => {
                auth!(role_delete, pb::AuthRoleDeleteRequest { role: role.into() })
            }
            Step::RoleGet(role) => auth!(role_get, pb::AuthRoleGetRequest { role: role.into() }),
            Step::RoleList => auth!(role_list, pb::AuthRoleListRequest {}),
            Step::Allow(name, perm_type, key, end) => auth!(
                role_grant_permission,
                pb::AuthRoleGrantPermissionRequest {
                    name: name.into(),
                    perm: Some(authpb::Permission {
                        perm_type: perm_type as i32,
                        key: key.into(),
                        range_end: end.into(),
                    }),
                }
            ),
            Step::Deny(role, key, end) => auth!(
                role_revoke_permission,
                pb::AuthRoleRevokePermissionRequest {
                    role: role.into(),
                    key: key.into(),
                    range_end: end.into(),
                }
            ),
            other => self.touch(other).await,
        }
    }

    async fn touch(&mut self, step: Step) -> String {
        let mut kv = KvClient::new(self.channel.clone());
        let mut lease = LeaseClient::new(self.channel.clone());
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        match step {
            Step::Range(key, end) => {
                let request = range(key, end);
                told(kv.range(self.with(request)).await, |answer| answer.header = None)
            }
            Step::Put(key, lease, prev_kv) => {
                let request = put(key, lease, prev_kv);
                told(kv.put(self.with(request)).await, |answer| answer.header = None)
            }
            Step::Delete(key, end, prev_kv) => {
                let request = delete(key, end, prev_kv);
                told(kv.delete_range(self.with(request)).await, |answer| answer.header = None)
            }
            Step::Txn(request) => told(kv.txn(self.with(request)).await, |answer| {
                answer.header = None;
                answer.responses.clear();
            }),
            Step::LeaseGrant(id) => {
                let request = pb::LeaseGrantRequest { id, ttl: 600 };
                told(lease.lease_grant(self.with(request)).await, |answer| answer.header = None)
            }
            Step::LeaseRevoke(id) => {
                let request = pb::LeaseRevokeRequest { id };
                told(lease.lease_revoke(self.with(request)).await, |answer| answer.header = None)
            }
            Step::TimeToLive(id, keys) => {
                let request = pb::LeaseTimeToLiveRequest { id, keys };
                told(lease.lease_time_to_live(self.with(request)).await, |answer| {
                    answer.header = None;
                    answer.ttl = answer.ttl.signum();
                })
            }
            Step::KeepAlive(id) => {
                let requests = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
                match lease.lease_keep_alive(self.with(requests)).await {
                    Ok(answers) => match answers.into_inner().message().await {
                        Ok(answer) => format!("{:?}", answer.map(|answer| answer.ttl)),
                        Err(status) => format!("{:?}: {}", status.code(), status.message()),
                    },
                    Err(status) => format!("{:?}: {}", status.code(), status.message()),
                }
            }
            Step::Leases => {
                let answer = lease.lease_leases(self.with(pb::LeaseLeasesRequest {})).await;
                told(answer, |answer| {
                    answer.header = None;
                    answer.leases.sort_by_key(|lease| lease.id);
                })
            }
            Step::Watch(key, range_end) => self.watch(key, range_end).await,
            Step::Alarms | Step::Disarm => {
                let mut request = pb::AlarmRequest::default();
                if matches!(step, Step::Disarm) {
                    request.set_action(pb::alarm_request::AlarmAction::Deactivate);
                    request.set_alarm(pb::AlarmType::Nospace);
                }
                told(maintenance.alarm(self.with(request)).await, |answer| answer.header = None)
            }
            Step::HashKv => {
                let request = pb::HashKvRequest { revision: 0 };
                told(maintenance.hash_kv(self.with(request)).await, |answer| {
                    *answer = pb::HashKvResponse { hash: answer.hash, ..Default::default() };
                })
            }
            other => panic!("{other:?}"),
        }
    }

    async fn watch(&mut self, key: &'static str, range_end: &'static str) -> String {
        let create = pb::WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..Default::default()
        };
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let (requests, outgoing) = tokio::sync::mpsc::channel(1);
        requests.send(create).await.unwrap();
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut client = WatchClient::new(self.channel.clone());
        let mut answers = client.watch(self.with(outgoing)).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        let pb::WatchResponse { created, canceled, cancel_reason, watch_id, .. } = answer;
        format!("{created} {canceled} {watch_id} {cancel_reason}")
    }
}

fn range(key: &'static str, end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

fn put(key: &'static str, lease: i64, prev_kv: bool) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "v".into(), lease, prev_kv, ..Default::default() }
}

fn delete(key: &'static str, end: &'static str, prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv }
}

fn txn(compare: &[&'static str], success: Vec<Op>, failure: Vec<Op>) -> Step {
    let compare =
        compare.iter().map(|key| pb::Compare { key: (*key).into(), ..Default::default() });
    let ops = |ops: Vec<Op>| ops.into_iter().map(|op| pb::RequestOp { request: Some(op) });
    Step::Txn(pb::TxnRequest {
        compare: compare.collect(),
        success: ops(success).collect(),
        failure: ops(failure).collect(),
    })
}

fn nested(op: Op) -> Op {
    Op::RequestTxn(pb::TxnRequest {
        success: vec![pb::RequestOp { request: Some(op) }],
        ..Default::default()
    })
}

fn management() -> Vec<Step> {
    use Step::*;
    vec![
        Enable,
        Login("root", "r"),
        UserAdd("", "p"),
        UserAdd("root", "r"),
        UserAdd("root", "r"),
        Enable,
        Grant("root", "root"),
        Grant("root", "root"),
        Grant("nobody", "root"),
        UserAdd("ann", "a"),
        UserAddWithout("cert"),
        Grant("ann", "missing"),
        RoleAdd(""),
        RoleAdd("reader"),
        RoleAdd("reader"),
        RoleAdd("writer"),
        RoleGet("missing"),
        RoleGet("reader"),
        RoleList,
        UserList,
        UserGet("ann"),
        UserGet("missing"),
        Allow("missing", Type::Read, "a", "b"),
        Newer(
            Box::new(Allow("reader", Type::Read, "b", "a")),
            "InvalidArgument: etcdserver: invalid auth management",
        ),
        Allow("reader", Type::Read, "m", "p"),
        Allow("reader", Type::Read, "a", "m"),
        Allow("reader", Type::Write, "a", "m"),
        Allow("reader", Type::Read, "a", "m"),
        RoleGet("reader"),
        Deny("reader", "a", "n"),
        Deny("missing", "a", "n"),
        Allow("writer", Type::Readwrite, "w", "x"),
        Allow("writer", Type::Write, "only", ""),
        Grant("ann", "reader"),
        Grant("ann", "writer"),
        Revoke("ann", "missing"),
        Revoke("missing", "reader"),
        UserGet("ann"),
        UserDelete("missing"),
        Password("missing", "x"),
        RoleDelete("missing"),
        Disable,
        Put("a1", 0, false),
        Put("w1", 0, false),
    ]
}

fn guarded() -> Vec<Step> {
    use Step::*;
    vec![
        Enable,
        Range("a1", ""),
        Put("a1", 0, false),
        UserList,
        Login("ann", "wrong"),
        Login("missing", "a"),
        Login("cert", "a"),
        Login("ann", "a"),
        Enable,
        Range("a1", ""),
        Range("a", "p"),
        Range("a", "q"),
        Range("a", "\0"),
        Range("w", "x"),
        Put("a1", 0, false),
        Put("w1", 0, false),
        Put("w1", 0, true),
        Put("only", 0, false),
        Put("only", 0, true),
        Range("only", ""),
        Delete("w1", "", true),
        Delete("a1", "", false),
        Delete("only", "", true),
        Delete("only", "", false),
        Delete("w", "y", false),
        txn(&["a1"], vec![Op::RequestPut(put("w1", 0, false))], vec![]),
        txn(&["z"], vec![Op::RequestPut(put("w1", 0, false))], vec![]),
        txn(
            &[],
            vec![Op::RequestPut(put("w1", 0, false))],
            vec![Op::RequestPut(put("z", 0, false))],
        ),
        txn(&[], vec![Op::RequestRange(range("a1", "")), Op::RequestRange(range("z", ""))], vec![]),
        denied(txn(&[], vec![nested(Op::RequestPut(put("z", 0, false)))], vec![])),
        denied(txn(&[], vec![], vec![nested(Op::RequestRange(range("z", "")))])),
        denied(txn(
            &[],
            vec![nested(nested(Op::RequestDeleteRange(delete("a", "\0", false))))],
            vec![],
        )),
        txn(&[], vec![Op::RequestDeleteRange(delete("only", "", true))], vec![]),
        txn(&[], vec![nested(Op::RequestPut(put("w2", 0, true)))], vec![]),
        LeaseGrant(7),
        Put("w3", 7, false),
        TimeToLive(7, true),
        Leases,
        KeepAlive(7),
        Watch("a", "p"),
        Watch("a", "q"),
        Newer(
            Box::new(Watch("a", "\0")),
            "true true -1 rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        ),
        Watch("w1", ""),
        Watch("z", ""),
        UserGet("ann"),
        UserGet("root"),
        UserList,
        UserAdd("bob", "b"),
        RoleGet("reader"),
        RoleGet("root"),
        RoleList,
        Grant("ann", "root"),
        Disable,
        denied(HashKv),
        denied(Disarm),
        Alarms,
        Login("root", "r"),
        LeaseGrant(8),
        Put("secret", 8, false),
        Put("secret2", 7, false),
        RoleGet("root"),
        UserDelete("root"),
        Revoke("root", "root"),
        RoleDelete("root"),
        HashKv,
        As("ann"),
        denied(TimeToLive(8, true)),
        TimeToLive(8, false),
        TimeToLive(99, true),
        Put("w4", 8, false),
        Put("w4", 7, false),
        LeaseRevoke(8),
        LeaseRevoke(7),
        denied(KeepAlive(8)),
        denied(Leases),
        denied(txn(&[], vec![Op::RequestPut(put("w4", 8, false))], vec![])),
        As("root"),
        Allow("reader", Type::Read, "q", "\0"),
        As("ann"),
        Range("a", "\0"),
        Range("q", "\0"),
        As("root"),
        Allow("reader", Type::Read, "p", "q"),
        Login("ann", "a"),
        Range("a", "\0"),
        Watch("a", "\0"),
        Put("zzz", 0, false),
        As("root"),
        Password("ann", "new"),
        As("ann"),
        Range("a1", ""),
        Login("ann", "a"),
        Login("ann", "new"),
        Range("a1", ""),
        As("root"),
        RoleDelete("reader"),
        UserGet("ann"),
        As("ann"),
        Range("a1", ""),
        Put("w1", 0, false),
        As("root"),
        UserDelete("ann"),
        As("ann"),
        Put("w1", 0, false),
        As("root"),
        Disable,
        As(""),
        Range("a", "\0"),
        UserList,
        RoleList,
        Login("root", "r"),
    ]
}

// upstream: etcd v3 API, "Auth"
#[tokio::test(flavor = "multi_thread")]
async fn users_may_do_what_they_may_in_etcd() {
    let Some(etcd) = start_etcd() else {
        eprintln!("no etcd on this machine: nothing compared");
        return;
    };
    let member = start(FaceConfig { bcrypt_cost: 4, ..FaceConfig::default() }).await;
    let mut theirs = Side::new(connect(etcd.address.clone()).await);
    let mut ours = Side::new(connect(format!("http://{}", member.address)).await);
    let mut differences = Vec::new();
    for (number, step) in management().into_iter().chain(guarded()).enumerate() {
        let (our, their) = match step.clone() {
            Step::Newer(step, expected) => (ours.take(*step).await, expected.to_owned()),
            step => (ours.take(step.clone()).await, theirs.take(step).await),
        };
        if our != their {
            differences.push(format!("{number} {step:?}\n  ours   {our}\n  theirs {their}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    drop((theirs, ours));
    member.stop().await;
}
