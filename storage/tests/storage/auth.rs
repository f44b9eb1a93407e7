//! Users and roles in the replicated state: what is refused at apply, and what survives.

use std::io::Read;
use std::sync::Arc;

use keelson_proto::authpb::{Permission, permission::Type};
use keelson_proto::etcdserverpb as pb;
use keelson_storage::auth::AuthError;
use keelson_storage::command::{
    ApplyError, ApplyResult, AuthChange, AuthOp, Authenticate, Command, Op, Reply, command,
};
use keelson_storage::engine::SortedMap;
use keelson_storage::entry::{LogEntry, Payload};

use crate::cluster::{Member, put};

fn change(op: AuthOp) -> Op {
    Op::AuthChange(AuthChange { change: Some(op) })
}

fn add_user(name: &str) -> Op {
    change(AuthOp::UserAdd(pb::AuthUserAddRequest {
        name: name.into(),
        hashed_password: "aGFzaA==".into(),
        ..Default::default()
    }))
}

fn allow(role: &str, kind: Type, key: &str, end: &str) -> Op {
    let perm = Permission {
        perm_type: kind as i32,
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
    };
    let request = pb::AuthRoleGrantPermissionRequest { name: role.into(), perm: Some(perm) };
    change(AuthOp::RoleGrantPermission(request))
}

fn grant(user: &str, role: &str) -> Op {
    let request = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
    change(AuthOp::UserGrantRole(request))
}

impl Member {
    fn apply_by(&mut self, user: &str, op: Op) -> ApplyResult {
        let auth_revision = match user {
            "" => 0,
            _ => self.machine.view().auth().revision(),
        };
        self.apply_command(Command { user: user.into(), auth_revision, ..command(op) })
    }

    fn apply_command(&mut self, command: Command) -> ApplyResult {
        let index = self.machine.applied().index + 1;
        let entry = LogEntry { term: 1, index, payload: Payload::Command(command) };
        self.machine.apply(&[entry]).remove(0)
    }
}

/// Root, and `ann` who may write `a` to `c`; authentication is on.
fn guarded() -> Member {
    let mut member = Member::new();
    let role = change(AuthOp::RoleAdd(pb::AuthRoleAddRequest { name: "r".into() }));
    let enable = change(AuthOp::Enable(pb::AuthEnableRequest {}));
    for op in [
        add_user("root"),
        grant("root", "root"),
        add_user("ann"),
        role,
        allow("r", Type::Write, "a", "c"),
        grant("ann", "r"),
        enable,
    ] {
        member.apply(op).unwrap();
    }
    member
}

fn refused(error: AuthError) -> ApplyResult {
    Err(ApplyError::Auth(error))
}

#[test]
fn a_refused_write_changes_nothing_and_takes_no_revision() {
    let mut member = guarded();
    let revision = member.machine.view().revision();
    let write = || Op::Put(put("a", "1"));
    assert_eq!(member.apply_by("", write()), refused(AuthError::UserEmpty));
    assert_eq!(member.apply_by("bob", write()), refused(AuthError::PermissionDenied));
    assert_eq!(
        member.apply_by("ann", Op::Put(put("c", "1"))),
        refused(AuthError::PermissionDenied)
    );
    assert_eq!(member.apply_by("ann", add_user("x")), refused(AuthError::PermissionDenied));
    assert_eq!(member.machine.view().revision(), revision);
    member.apply_by("ann", write()).unwrap();
    member.apply_by("root", Op::Put(put("c", "1"))).unwrap();
    let trusted = Command { trusted: true, ..command(Op::Put(put("d", "1"))) };
    member.apply_command(trusted).unwrap();
    assert_eq!(member.machine.view().revision(), revision + 3);
}

// upstream: etcd issue list, "auth revision": a request authenticated before a change is refused
#[test]
fn a_request_of_an_older_auth_revision_is_refused() {
    let mut member = guarded();
    let auth_revision = member.machine.view().auth().revision();
    member.apply_by("root", add_user("x")).unwrap();
    let late = Command { user: "ann".into(), auth_revision, ..command(Op::Put(put("a", "1"))) };
    assert_eq!(member.apply_command(late), refused(AuthError::OldRevision));
}

#[test]
fn a_lease_carries_nobody_over_keys_that_he_may_not_write() {
    let mut member = guarded();
    member.apply_by("root", Op::LeaseGrant(pb::LeaseGrantRequest { id: 5, ttl: 9 })).unwrap();
    let with_lease = |key| pb::PutRequest { lease: 5, ..put(key, "1") };
    member.apply_by("root", Op::Put(with_lease("z"))).unwrap();
    let denied = refused(AuthError::PermissionDenied);
    assert_eq!(member.apply_by("ann", Op::Put(with_lease("a"))), denied);
    let revoke = keelson_storage::command::LeaseRevoke { ids: vec![5], ..Default::default() };
    assert_eq!(member.apply_by("ann", Op::LeaseRevoke(revoke.clone())), denied);
    // The leader ends leases on nobody's behalf.
    let expired = keelson_storage::command::LeaseRevoke { expired: true, ..revoke };
    member.apply_by("", Op::LeaseRevoke(expired)).unwrap();
    assert!(member.keys("z", "", 0).0.is_empty());
}

#[test]
fn users_and_roles_survive_a_restart_and_go_with_a_snapshot() {
    let mut member = guarded();
    let state = member.machine.view().auth();
    let mut snapshot = Vec::new();
    member.machine.snapshot().unwrap().read_to_end(&mut snapshot).unwrap();
    let delete = pb::AuthUserDeleteRequest { name: "ann".into() };
    member.apply_by("root", change(AuthOp::UserDelete(delete))).unwrap();
    let after = member.machine.view().auth();
    member.machine.flush();
    let mut member = Member::on(member.engine);
    assert_eq!(member.machine.view().auth(), after);
    assert!(member.machine.view().is_auth_enabled());

    let mut other = Member::on(Arc::new(SortedMap::new()));
    other.machine.install(&snapshot[..]).unwrap();
    assert_eq!(other.machine.view().auth(), state);
    assert!(other.apply_by("ann", Op::Put(put("a", "1"))).is_ok());
    member.machine.install(&snapshot[..]).unwrap();
    assert_eq!(member.machine.view().auth(), state);
}

#[test]
fn a_token_is_known_on_every_member_and_ends_with_the_password() {
    let (mut one, mut two) = (guarded(), guarded());
    let auth_revision = one.machine.view().auth().revision();
    let request =
        Authenticate { name: "ann".into(), token_prefix: "letters".into(), auth_revision };
    let Ok(Reply::Token(token)) = one.apply(Op::Authenticate(request.clone())) else { panic!() };
    two.apply(Op::Authenticate(request.clone())).unwrap();
    assert_eq!(token, format!("letters.{}", one.machine.applied().index));
    let (now, ttl) = (std::time::Duration::ZERO, std::time::Duration::from_secs(9));
    let whose = |member: &Member| member.machine.view().tokens().user(&token, now, ttl);
    assert_eq!(whose(&one).as_deref(), Some("ann"));
    assert_eq!(whose(&two).as_deref(), Some("ann"));
    let password = pb::AuthUserChangePasswordRequest {
        name: "ann".into(),
        hashed_password: "bmV3".into(),
        ..Default::default()
    };
    one.apply_by("root", change(AuthOp::UserChangePassword(password))).unwrap();
    assert_eq!(whose(&one), None);
    assert_eq!(one.apply(Op::Authenticate(request)), refused(AuthError::OldRevision));
}
