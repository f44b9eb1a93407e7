//! Health, version, metrics, host names and origins of `keelson store`, as curl sees them.

use anyhow::{Result, ensure};
use keelson_tests::store::{Alone, curl};

// upstream: etcd v3.7, `etcdhttp` and the access controller
#[test]
fn health_version_and_metrics_have_etcds_bodies() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let metrics = format!("http://127.0.0.1:{}", keelson_tests::ports::free(1)?[0]);
    let alone = Alone::new(dir.path(), "http")?.with("listen-metrics-urls", &metrics);
    let _store = alone.start(dir.path())?;
    for base in [&alone.url, &metrics] {
        let get = |path: &str| curl(&[&format!("{base}{path}")]);
        ensure!(get("/health")? == (200, r#"{"health":"true","reason":""}"#.to_owned()));
        ensure!(get("/health?serializable=true&exclude=NOSPACE")?.0 == 200);
        ensure!(curl(&["-X", "POST", &format!("{base}/health")])?.0 == 405);
        ensure!(get("/livez")? == (200, "ok\n".to_owned()));
        ensure!(get("/livez?verbose")? == (200, "[+]serializable_read ok\nok\n".to_owned()));
        let ready = get("/readyz?verbose&exclude=linearizable_read&exclude=nobody")?;
        let expected = "[+]data_corruption ok\n[+]serializable_read ok\n[+]non_learner ok\nok\n";
        ensure!(ready == (200, expected.to_owned()), "{ready:?}");
        ensure!(get("/readyz/non_learner")? == (200, "ok\n".to_owned()));
        ensure!(get("/readyz/nobody")? == (404, "404 page not found\n".to_owned()));
        let (status, text) = get("/metrics")?;
        ensure!(status == 200);
        for name in [
            "etcd_server_has_leader 1",
            "etcd_server_is_learner 0",
            "etcd_server_healthcheck{name=\"non_learner\",type=\"readyz\"} 1",
            "etcd_server_health_success 2",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"}",
            "etcd_disk_backend_commit_duration_seconds_count",
            "etcd_mvcc_db_total_size_in_bytes",
            "etcd_network_client_grpc_received_bytes_total",
            "process_resident_memory_bytes",
            "os_fd_limit",
        ] {
            let found = text.lines().any(|line| line.starts_with(name));
            // The first loop has asked for health twice, the second four times.
            ensure!(found || name.starts_with("etcd_server_health_success"), "{name} in {text}");
        }
    }
    let get = |path: &str| curl(&[&format!("{}{path}", alone.url)]);
    let version = r#"{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}"#;
    ensure!(get("/version")? == (200, version.to_owned()));
    let (status, vars) = get("/debug/vars")?;
    let vars: serde_json::Value = serde_json::from_str(&vars)?;
    ensure!(status == 200 && vars["file_descriptor_limit"].as_u64() > Some(0), "{vars}");
    ensure!(get("/")? == (404, "404 page not found\n".to_owned()));
    ensure!(curl(&[&format!("{metrics}/version")])?.0 == 404, "metrics URLs serve no more");
    Ok(())
}

#[test]
fn hosts_and_origins_are_checked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?
        .with("host-whitelist", "good.example")
        .with("cors", "http://page.example");
    let _store = alone.start(dir.path())?;
    let health = format!("{}/health", alone.url);
    ensure!(curl(&["-H", "Host: good.example:1", &health])?.0 == 200);
    let (status, text) = curl(&["-H", "Host: bad.example", &health])?;
    ensure!(status == 421 && text.contains("--host-whitelist \"bad.example\""), "{text}");
    let asked = |origin: &str| {
        let origin = format!("Origin: {origin}");
        curl(&["-i", "-X", "OPTIONS", "-H", "Host: good.example", "-H", &origin, &health])
    };
    let (status, head) = asked("http://page.example")?;
    ensure!(status == 200, "{head}");
    ensure!(
        head.to_lowercase().contains("access-control-allow-origin: http://page.example"),
        "{head}"
    );
    let (_, head) = asked("http://other.example")?;
    ensure!(!head.to_lowercase().contains("access-control"), "{head}");
    Ok(())
}

fn etcdctl(endpoint: &str, arguments: &[&str]) -> Result<String> {
    let mut etcdctl = std::process::Command::new("etcdctl");
    etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", endpoint]).args(arguments);
    keelson_tests::run(etcdctl, None, std::time::Duration::from_secs(20))?.ok()
}

/// Old clients send the whole URL as the name of their server.
#[test]
fn etcdctl_may_name_its_endpoint_by_url() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let _store = alone.start(dir.path())?;
    for endpoint in [alone.url.as_str(), alone.url.trim_start_matches("http://")] {
        let status = etcdctl(endpoint, &["endpoint", "status"])?;
        ensure!(status.contains("3.7.1"), "{endpoint}: {status}");
        etcdctl(endpoint, &["endpoint", "hashkv"])?;
        etcdctl(endpoint, &["endpoint", "health"])?;
    }
    Ok(())
}

#[test]
fn http_has_ports_of_its_own_and_sockets_have_paths() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let http = format!("http://127.0.0.1:{}", keelson_tests::ports::free(1)?[0]);
    let socket = dir.path().join("client.sock").display().to_string();
    let alone = Alone::new(dir.path(), "http")?;
    let urls = format!("{},unix://{socket}", alone.url);
    let alone = alone.with("listen-client-urls", &urls).with("listen-client-http-urls", &http);
    let _store = alone.start(dir.path())?;
    ensure!(curl(&[&format!("{http}/health")])?.0 == 200);
    ensure!(curl(&[&format!("{}/health", alone.url)])?.0 == 415, "gRPC alone is served there");
    ensure!(curl(&["--unix-socket", &socket, "http://localhost/health"])?.0 == 415);
    ensure!(etcdctl(&alone.url, &["put", "a", "b"])?.trim() == "OK");
    Ok(())
}

#[test]
fn a_gateway_passes_connections_on_to_the_member_that_is_there() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let _store = alone.start(dir.path())?;
    let ports = keelson_tests::ports::free(2)?;
    let listen = format!("127.0.0.1:{}", ports[0]);
    let endpoints = format!("127.0.0.1:{},127.0.0.1:{}", ports[1], alone.port);
    let flags = ["gateway", "start", "--listen-addr", &listen, "--endpoints", &endpoints];
    let flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
    let log = dir.path().join("gateway.log");
    let mut gateway = keelson_tests::StoreProcess::start(&flags, &[], &log)?;
    gateway.logged("ready to proxy client requests")?;
    for _ in 0..3 {
        ensure!(curl(&[&format!("http://{listen}/health")])?.0 == 200);
    }
    ensure!(gateway.log().contains("deactivated endpoint"), "{}", gateway.log());
    Ok(())
}
