//! TLS of `keelson store`: clients, members, and certificates that are replaced.

use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_client::Store as _;
use keelson_proto::etcdserverpb as pb;
use keelson_tests::certificates::{Authority, Pair};
use keelson_tests::store::{Alone, curl};
use keelson_tests::{Members, wait};

/// Whether a client with (or without) a certificate is served.
fn is_served(url: &str, ca: &str, client: Option<&Pair>, more: &[&str]) -> bool {
    let url = format!("{url}/health");
    let mut arguments = vec!["--cacert", ca, &url];
    if let Some(pair) = client {
        arguments.extend(["--cert", &pair.certificate, "--key", &pair.key]);
    }
    arguments.extend(more);
    curl(&arguments).is_ok_and(|(status, _)| status == 200)
}

#[test]
fn clients_need_a_certificate_that_is_good() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ours = Authority::new(&dir.path().join("ours"))?;
    let other = Authority::new(&dir.path().join("other"))?;
    let server = ours.issue("server", 1)?;
    let (good, bad) = (ours.issue("good", 2)?, ours.issue("bad", 3)?);
    let unknown = ours.issue("unknown", 4)?;
    let alone = Alone::new(dir.path(), "https")?
        .with("cert-file", &server.certificate)
        .with("key-file", &server.key)
        .with("trusted-ca-file", &ours.path())
        .with("client-cert-auth", "true")
        .with("client-crl-file", &ours.revoke(&[3])?)
        .with("client-cert-allowed-hostname", "good.example.org,bad.example.org")
        .with("tls-max-version", "TLS1.2")
        .with("cipher-suites", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    let store = alone.start(dir.path())?;
    let served =
        |client: Option<&Pair>, more: &[&str]| is_served(&alone.url, &ours.path(), client, more);
    ensure!(served(Some(&good), &[]));
    ensure!(!served(None, &[]), "without a certificate");
    ensure!(!served(Some(&other.issue("good", 2)?), &[]), "of another authority");
    ensure!(!served(Some(&bad), &[]), "revoked");
    ensure!(!served(Some(&unknown), &[]), "with a name that is not allowed");
    ensure!(!served(Some(&good), &["--tlsv1.3"]), "newer than allowed");
    ensure!(!served(Some(&good), &["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]), "another suite");
    let log = store.log();
    ensure!(log.contains("serving client traffic securely"), "{log}");
    ensure!(log.contains("rejected connection on client endpoint"), "{log}");
    ensure!(log.contains("client certificate authentication failed"), "{log}");

    // Both are read again at the next handshake.
    ours.revoke(&[2])?;
    ensure!(!served(Some(&good), &[]) && served(Some(&bad), &[]), "the list was replaced");
    let serial = || -> Result<String> {
        let url = format!("{}/health", alone.url);
        let arguments =
            ["-v", "--cacert", &ours.path(), "--cert", &bad.certificate, "--key", &bad.key];
        let mut command = std::process::Command::new("curl");
        command.args(["-s", "-w", "%{certs}"]).args(arguments).arg(&url);
        let output = keelson_tests::run(command, None, Duration::from_secs(20))?;
        let shown = output.out.lines().find(|line| line.starts_with("Serial Number:"));
        Ok(shown.unwrap_or_default().to_owned())
    };
    let before = serial()?;
    ours.issue("server", 77)?;
    ensure!(serial()? != before, "the server's certificate was replaced: {before}");
    Ok(())
}

#[test]
fn one_port_speaks_both_and_makes_its_own_certificate() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let secure = alone.url.replacen("http", "https", 1);
    let both = format!("{},{secure}", alone.url);
    let alone = alone.with("listen-client-urls", &both).with("auto-tls", "true");
    let _store = alone.start(dir.path())?;
    ensure!(curl(&[&format!("{}/health", alone.url)])?.0 == 200);
    let made = dir.path().join("data/fixtures/client/cert.pem").display().to_string();
    ensure!(is_served(&secure, &made, None, &[]));
    ensure!(curl(&["-k", &format!("{secure}/health")])?.0 == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_speak_tls_to_one_another() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let authority = Authority::new(dir.path())?;
    let peer = authority.issue("peer", 1)?;
    let given = |name: &str, value: &str| format!("--peer-{name}={value}");
    let signed = vec![
        given("cert-file", &peer.certificate),
        given("key-file", &peer.key),
        given("trusted-ca-file", &authority.path()),
        given("client-cert-auth", "true"),
        given("cert-allowed-cn", "peer"),
    ];
    for flags in [signed, vec!["--peer-auto-tls".to_owned()]] {
        let mut members = Members::start_with(3, "https", &flags).await?;
        let put = pb::PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
        members.client(0)?.put(put).await?;
        for index in 0..3 {
            let request = pb::RangeRequest { key: "a".into(), ..Default::default() };
            let kvs = members.client(index)?.range(request).await?.kvs;
            ensure!(kvs.len() == 1, "member {index} has it not");
        }
        // Each has told the others where clients find it.
        let url = format!("{}/v3/cluster/member/list", members.endpoints()[0]);
        wait::until("all client URLs", Duration::from_secs(20), || {
            let (_, listed) = curl(&["-d", "{}", &url])?;
            let all = members.endpoints().iter().all(|endpoint| listed.contains(endpoint));
            Ok(all.then_some(()))
        })?;
        // One that comes back finds the others.
        members.kill_9(2)?;
        members.start_one(2)?;
        members.ready(2).await?;
        let log = std::fs::read_to_string(members.log(0))?;
        ensure!(!log.contains("rejected connection on peer endpoint"), "{log}");
    }
    Ok(())
}
