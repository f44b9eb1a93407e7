//! A follower that is far behind is sent a snapshot: while others write, broken off in the middle
//! again and again, and with all that the state has.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_client::Store as _;
use keelson_proto::etcdserverpb as pb;
use keelson_tests::members::Own;
use keelson_tests::proxy::Proxy;
use keelson_tests::{Members, ports, scratch};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::kill_run::load::Load;

/// Short elections, a log that is released early, and changes of members while one is away.
const FLAGS: [&str; 5] = [
    "--heartbeat-interval=50",
    "--election-timeout=500",
    "--snapshot-count=300",
    "--snapshot-catchup-entries=100",
    "--strict-reconfig-check=false",
];
const CLIENTS: u64 = 40;
const VALUE_BYTES: usize = 8 << 10;
/// A connection that has carried this is in the middle of a snapshot: entries are fewer.
const MIDDLE: u64 = 2 << 20;
/// Writes that the follower does not hear of: more than the log is kept for, and more bytes than
/// [`MIDDLE`].
const MISSED: u64 = 900;

/// Three members, the last of which the others reach by a proxy.
async fn start() -> Result<(Members, Proxy)> {
    let ports = ports::free(2)?;
    let proxy = Proxy::start(ports[0], ports[1], MIDDLE).await?;
    let mut own = vec![Own::default(); 3];
    own[2].peer_ports = Some((ports[0], ports[1]));
    let flags = FLAGS.map(str::to_owned);
    let members = Members::start_in(scratch::dir("members")?, "http", &flags, own).await?;
    members.lead(0).await?;
    Ok((members, proxy))
}

/// How often the log of a member says this.
fn times_logged(members: &Members, index: usize, what: &str) -> Result<usize> {
    Ok(std::fs::read_to_string(members.log(index))?.matches(what).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_broken_off_comes_again_while_others_write() -> Result<()> {
    let (mut members, mut proxy) = start().await?;
    let mut random = SmallRng::seed_from_u64(rand::random());
    let load = Load::start(&members, CLIENTS, VALUE_BYTES, &mut random)?;
    members.kill_9(2)?;
    load.writes(MISSED).await?;

    // Its connection is cut in the middle.
    members.start_one(2)?;
    proxy.held().await?;
    load.writes(20).await?;
    proxy.cut();
    // The receiver dies in the middle.
    proxy.held().await?;
    members.kill_9(2)?;
    proxy.cut();
    load.writes(20).await?;
    members.start_one(2)?;
    // The sender dies in the middle, and the next leader sends one of its own.
    proxy.held().await?;
    members.kill_9(0)?;
    proxy.cut();
    proxy.held().await?;
    members.start_one(0)?;
    members.ready(0).await?;
    ensure!(times_logged(&members, 2, "received database snapshot")? == 0, "it was whole");

    // More is written meanwhile than the log is kept for, and yet one snapshot is enough.
    load.writes(MISSED).await?;
    proxy.pass();
    members.ready(2).await?;
    let received = times_logged(&members, 2, "received database snapshot")?;
    ensure!(received == 1, "{received} snapshots were taken");
    let left = members.data_dir(2).join("member/snapshot.partial");
    ensure!(!left.exists(), "{} is left", left.display());
    load.check(&members).await?;
    Ok(())
}

fn etcdctl(url: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", url]).args(arguments);
    let output = keelson_tests::run(command, None, Duration::from_secs(30))?;
    output.ok().with_context(|| format!("etcdctl {arguments:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_leases_alarms_members_and_the_compacted_revision_come_with_a_snapshot() -> Result<()>
{
    let (mut members, proxy) = start().await?;
    proxy.pass();
    let leader = members.endpoints()[0].clone();
    let ask = |arguments: &[&str]| {
        let user = ["--user", "root:secret"];
        etcdctl(&leader, &[&user, arguments].concat())
    };
    members.kill_9(2)?;
    let lease = ask(&["lease", "grant", "5000"])?;
    let lease = lease.split(' ').nth(1).context("a lease")?.to_owned();
    ask(&["put", "--lease", &lease, "leased", "x"])?;
    ask(&["role", "add", "reader"])?;
    ask(&["role", "grant-permission", "reader", "read", "k", "l"])?;
    ask(&["user", "add", "ann:secret"])?;
    ask(&["user", "grant-role", "ann", "reader"])?;
    ask(&["member", "add", "late", "--learner", "--peer-urls", "http://127.0.0.1:1"])?;
    let store = members.client(0)?;
    for number in 0..MISSED {
        let put = pb::PutRequest {
            key: format!("k{}", number % 50).into(),
            value: number.to_string().into(),
            ..Default::default()
        };
        store.put(put).await?;
    }
    let now = store.revision().await?;
    let id = store.status().await?.header.map_or(0, |header| header.member_id);
    ask(&["compact", &(now - 200).to_string()])?;
    ask(&["user", "add", "root:secret"])?;
    ask(&["auth", "enable"])?;
    let alarm = format!("{{\"action\":1,\"memberID\":\"{id}\",\"alarm\":1}}");
    let token = keelson_tests::store::curl(&[
        &format!("{leader}/v3/auth/authenticate"),
        "-d",
        "{\"name\":\"root\",\"password\":\"secret\"}",
    ])?;
    let token = token.1.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = format!("Authorization: {}", token.context("a token")?);
    let raised = [&format!("{leader}/v3/maintenance/alarm"), "-H", &token, "-d", &alarm];
    let raised = keelson_tests::store::curl(&raised)?;
    ensure!(raised.0 == 200, "{raised:?}");

    members.start_one(2)?;
    let late = members.endpoints()[2].clone();
    let questions: [&[&str]; 8] = [
        &["lease", "list"],
        &["lease", "timetolive", "--keys", &lease],
        &["role", "get", "reader"],
        &["user", "get", "ann"],
        &["user", "list"],
        &["member", "list"],
        &["alarm", "list"],
        &["get", "k", "--prefix", "-w", "json"],
    ];
    // Until it answers at all; etcdctl waits for a member that is not there yet.
    keelson_tests::wait::until("the member to answer", Duration::from_secs(30), || {
        Ok(etcdctl(&late, &["--user", "root:secret", "get", "k1"]).ok())
    })?;
    for question in questions {
        // Of what counts down, seconds may differ; of what names who answers, the member does.
        let same = |answer: String| {
            let told = answer.split_once("remaining(").map(|(_, rest)| rest.to_owned());
            let told = told.and_then(|rest| Some(rest.split_once(')')?.1.to_owned()));
            let answer = told.unwrap_or(answer);
            answer.split_once("\"revision\"").map_or(answer.clone(), |(_, rest)| rest.to_owned())
        };
        let wanted = same(ask(question)?);
        let user = ["--user", "root:secret"];
        let found = same(etcdctl(&late, &[&user, question].concat())?);
        ensure!(!wanted.trim().is_empty() && wanted == found, "{question:?}: {wanted}, {found}");
    }
    let compacted = etcdctl(&late, &["--user", "root:secret", "get", "k1", "--rev", "5"]);
    let error = format!("{:?}", compacted.err());
    ensure!(error.contains("has been compacted"), "{error}");
    let refused = etcdctl(&late, &["--user", "ann:secret", "del", "k1"]);
    let refused = format!("{:?}", refused.err());
    ensure!(refused.contains("permission denied"), "ann may delete: {refused}");
    ensure!(times_logged(&members, 2, "received database snapshot")? >= 1, "it came by entries");
    let all = members.endpoints().join(",");
    let hashes = etcdctl(&all, &["--user", "root:secret", "endpoint", "hashkv"])?;
    let hashes: Vec<_> = hashes.lines().filter_map(|line| line.split_once(", ")).collect();
    ensure!(hashes.len() == 3, "{hashes:?}");
    ensure!(hashes.iter().all(|(_, hash)| *hash == hashes[0].1), "{hashes:?}");
    Ok(())
}
