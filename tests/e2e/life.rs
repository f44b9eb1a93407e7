//! Starting, ending, starting twice, taking down.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::cluster::binary;
use keelson_tests::{Cluster, Settings, run, wait};

#[test]
fn a_second_start_on_the_same_directory_names_the_holder() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    let mut second = Command::new(binary());
    second.args(["up", "--no-agent", "--data-dir"]).arg(cluster.data_dir());
    let error = run(second, None, Duration::from_secs(20))?.failed()?;
    ensure!(error.contains(&format!("process id {}", cluster.pid())), "{error}");
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let dir = tempfile::tempdir()?;
    let mut up = Command::new(binary());
    up.args([
        "up",
        "--no-agent",
        "--bind-address",
        "127.0.0.1",
        "--secure-port",
        &port,
        "--data-dir",
    ])
    .arg(dir.path().join("data"));
    let error = run(up, None, Duration::from_secs(30))?.failed()?;
    ensure!(error.contains(&port) && error.contains("in use"), "{error}");
    Ok(())
}

#[test]
fn wrong_flags_are_all_named_at_once() -> Result<()> {
    let mut up = Command::new(binary());
    up.args(["up", "--service-cluster-ip-range", "10.0.0.0/8", "--cluster-cidr", "10.1.0.0/16"])
        .args(["--heartbeat-interval", "100", "--election-timeout", "100"]);
    let error = run(up, None, Duration::from_secs(20))?.failed()?;
    ensure!(error.contains("overlap") && error.contains("--election-timeout"), "{error}");
    Ok(())
}

#[test]
fn objects_outlive_an_orderly_end_and_purge_removes_everything() -> Result<()> {
    let mut cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    cluster.k("create namespace kept")?;
    cluster.interrupt()?;
    cluster.up()?;
    cluster.k("get namespace kept")?;
    cluster.down(&["--purge"])?.ok()?;
    ensure!(!cluster.data_dir().exists(), "--purge left {}", cluster.data_dir().display());
    Ok(())
}

#[test]
fn secrets_are_readable_by_their_owner_only() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    let mode = |path: std::path::PathBuf| -> Result<u32> {
        Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
    };
    ensure!(mode(cluster.data_dir())? == 0o700);
    ensure!(mode(cluster.kubeconfig())? == 0o600);
    for key in ["ca.key", "sa.key", "admin.key", "etcd/server.key"] {
        let found = mode(cluster.data_dir().join("pki").join(key))?;
        ensure!(found == 0o600, "{key} has mode {found:o}");
    }
    Ok(())
}

#[test]
fn an_ordinary_user_gets_everything_but_containers() -> Result<()> {
    let cluster = Cluster::start(Settings { user: Some(65534), ..Settings::default() })?;
    cluster.k("create deployment web --image=none:1 --replicas=2")?;
    wait::until("the controllers to make pods", Duration::from_secs(30), || {
        let pods = cluster.k("get pods -l app=web -o name")?;
        Ok((pods.lines().count() == 2).then_some(()))
    })?;
    ensure!(cluster.k("get nodes")?.is_empty(), "no agent, no node");
    ensure!(cluster.tail().contains("containers need root"), "{}", cluster.tail());
    Ok(())
}
