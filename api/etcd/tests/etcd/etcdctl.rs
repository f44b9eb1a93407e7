//! Stock etcdctl, where the machine has one.

use std::process::Stdio;

use keelson_etcd_api::FaceConfig;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::member::{Member, start};

fn command(member: &Member, arguments: &[&str]) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").arg("--endpoints").arg(&member.address).args(arguments);
    command.kill_on_drop(true);
    command
}

async fn etcdctl(member: &Member, arguments: &[&str]) -> String {
    let output = command(member, arguments).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_finds_an_etcd() {
    if Command::new("etcdctl").arg("version").output().await.is_err() {
        eprintln!("no etcdctl on this machine: nothing tried");
        return;
    }
    let member = start(FaceConfig::default()).await;
    let mut watch =
        command(&member, &["watch", "--prefix", "a"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert_eq!(etcdctl(&member, &["put", "first", "1"]).await, "OK\n");
    assert_eq!(etcdctl(&member, &["get", "first"]).await, "first\n1\n");
    assert_eq!(etcdctl(&member, &["put", "first", "2", "--prev-kv"]).await, "OK\nfirst\n1\n");
    assert_eq!(
        etcdctl(&member, &["get", "first", "--rev", "2", "--print-value-only"]).await,
        "1\n"
    );
    assert_eq!(etcdctl(&member, &["del", "first"]).await, "1\n");

    let granted = etcdctl(&member, &["lease", "grant", "60"]).await;
    let id = granted.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL(60s)\n"));
    assert_eq!(etcdctl(&member, &["put", "leased", "", "--lease", &id]).await, "OK\n");
    let left = etcdctl(&member, &["lease", "timetolive", &id, "--keys"]).await;
    assert!(left.contains("attached keys([leased])"), "{left}");
    let kept = etcdctl(&member, &["lease", "keep-alive", "--once", &id]).await;
    assert_eq!(kept, format!("lease {id} keepalived with TTL(60)\n"));
    assert!(etcdctl(&member, &["lease", "list"]).await.contains(&id));
    assert_eq!(etcdctl(&member, &["lease", "revoke", &id]).await, format!("lease {id} revoked\n"));
    assert_eq!(etcdctl(&member, &["get", "leased"]).await, "");

    let mut txn =
        command(&member, &["txn"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let script = b"version(\"t\") = \"0\"\n\nput t yes\n\nput t no\n\n";
    tokio::io::AsyncWriteExt::write_all(&mut txn.stdin.take().unwrap(), script).await.unwrap();
    let output = txn.wait_with_output().await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("SUCCESS\n"), "{output:?}");
    assert_eq!(etcdctl(&member, &["get", "t", "--print-value-only"]).await, "yes\n");

    assert_eq!(etcdctl(&member, &["compact", "3"]).await, "compacted revision 3\n");
    let old = etcdctl(&member, &["get", "first", "--rev", "2"]).await;
    assert!(old.contains("etcdserver: mvcc: required revision has been compacted"), "{old}");
    let health = etcdctl(&member, &["endpoint", "health"]).await;
    assert!(health.contains("is healthy"), "{health}");
    let status = etcdctl(&member, &["endpoint", "status", "-w", "fields"]).await;
    assert!(status.contains("\"Version\" : \"3.7.1\""), "{status}");
    let members = etcdctl(&member, &["member", "list", "-w", "fields"]).await;
    assert!(members.contains("\"ID\" : "), "{members}");
    let hash = etcdctl(&member, &["endpoint", "hashkv"]).await;
    assert!(hash.contains(&member.address), "{hash}");
    assert_eq!(etcdctl(&member, &["alarm", "list"]).await, "");

    // The watch may have begun at any time since: a key of its own tells that it has.
    let (mut seen, mut tries) = (String::new(), 0);
    while seen.is_empty() {
        etcdctl(&member, &["put", &format!("a{tries}"), "v"]).await;
        tries += 1;
        let line = tokio::time::timeout(std::time::Duration::from_secs(1), lines.next_line());
        if let Ok(line) = line.await {
            seen = line.unwrap().unwrap();
        }
        assert!(tries < 30, "the watch shows nothing");
    }
    assert_eq!(seen, "PUT");
    watch.kill().await.unwrap();
    member.stop().await;
}

// upstream: etcd's guide "Role-based access control", step by step
#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_manages_users_and_is_kept_to_their_keys() {
    if Command::new("etcdctl").arg("version").output().await.is_err() {
        eprintln!("no etcdctl on this machine: nothing tried");
        return;
    }
    let member = start(FaceConfig { bcrypt_cost: 4, ..FaceConfig::default() }).await;
    let root = async |arguments: &[&str]| {
        etcdctl(&member, &[&["--user", "root:secret"], arguments].concat()).await
    };
    let ann = async |arguments: &[&str]| {
        etcdctl(&member, &[&["--user", "ann:pass"], arguments].concat()).await
    };
    assert_eq!(etcdctl(&member, &["user", "add", "root:secret"]).await, "User root created\n");
    etcdctl(&member, &["user", "grant-role", "root", "root"]).await;
    assert_eq!(etcdctl(&member, &["auth", "enable"]).await, "Authentication Enabled\n");

    let nobody = etcdctl(&member, &["put", "k", "v"]).await;
    assert!(nobody.contains("etcdserver: user name is empty"), "{nobody}");
    assert_eq!(root(&["user", "add", "ann:pass"]).await, "User ann created\n");
    assert_eq!(root(&["role", "add", "apps"]).await, "Role apps created\n");
    root(&["role", "grant-permission", "apps", "readwrite", "app/", "--prefix"]).await;
    root(&["user", "grant-role", "ann", "apps"]).await;
    assert_eq!(ann(&["put", "app/1", "v"]).await, "OK\n");
    assert_eq!(ann(&["get", "app/", "--prefix", "--print-value-only"]).await, "v\n");
    for arguments in [&["put", "other", "v"][..], &["get", "", "--prefix"], &["compact", "2"]] {
        let denied = ann(arguments).await;
        assert!(denied.contains("etcdserver: permission denied"), "{arguments:?}: {denied}");
    }
    let wrong = etcdctl(&member, &["--user", "ann:wrong", "get", "app/1"]).await;
    assert!(wrong.contains("authentication failed, invalid user ID or password"), "{wrong}");
    let role = root(&["role", "get", "apps"]).await;
    assert!(role.contains("[app/, app0) (prefix app/)"), "{role}");
    assert_eq!(root(&["user", "list"]).await, "ann\nroot\n");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let saved = root(&["snapshot", "save", file.to_str().unwrap()]).await;
    assert!(saved.contains("Snapshot saved at"), "{saved}");
    assert_eq!(std::fs::metadata(&file).unwrap().len() % 512, 32);
    let refused = ann(&["snapshot", "save", file.to_str().unwrap()]).await;
    assert!(refused.contains("permission denied"), "{refused}");
    assert_eq!(root(&["auth", "disable"]).await, "Authentication Disabled\n");
    assert_eq!(etcdctl(&member, &["put", "k", "v"]).await, "OK\n");

    let held = etcdctl(&member, &["lock", "l", "echo", "inside"]).await;
    assert_eq!(held, "inside\n");
    member.stop().await;
}
