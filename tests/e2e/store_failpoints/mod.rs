//! Every failpoint, in one table: the store dies there under load, and comes back whole.
//!
//! Whole means: every acknowledged write is there exactly once, revisions did not go back, what
//! watchers were told before and after fits together without a gap, leases are as acknowledged, and
//! members hash alike.

mod leases;
mod load;
mod stage;
mod stall;
mod steady;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keelson_client::Store as _;
use keelson_proto::etcdserverpb as pb;
use keelson_tests::StoreProcess;
use keelson_tests::store::{Alone, curl, failpoint_binary};

use load::Load;
use stage::Stage;

/// Where and when a point ends a process.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    /// The start after a crash.
    Start,
    /// A store of one member, under load.
    Alone,
    /// The same, when its members are changed.
    Change,
    /// The same, when it is defragmented.
    Defragment,
    /// One that leads two others.
    Leader,
    /// One that follows.
    Follower,
    /// One that was away for so long that it is sent a snapshot.
    Lagging,
}

/// All points, as the interface lists them.
const POINTS: [(&str, At); 46] = [
    ("afterCommit", At::Alone),
    ("afterIsMemberExist", At::Alone),
    ("afterStartDBTxn", At::Alone),
    ("afterWritebackBuf", At::Alone),
    ("applyAfterOpenSnapshot", At::Lagging),
    ("applyBeforeOpenSnapshot", At::Lagging),
    ("beforeApplyOneConfChange", At::Change),
    ("beforeApplyOneEntryNormal", At::Alone),
    ("beforeCheckpointInLeaseRenew", At::Alone),
    ("beforeCommit", At::Alone),
    ("beforeLookupWhenForwardLeaseTimeToLive", At::Leader),
    ("beforeLookupWhenLeaseTimeToLive", At::Alone),
    ("beforePublishing", At::Start),
    ("beforeRangeStreamChunk", At::Alone),
    ("beforeSendWatchResponse", At::Alone),
    ("beforeServeHTTPLeaseRenew", At::Leader),
    ("beforeStartDBTxn", At::Alone),
    ("beforeWritebackBuf", At::Alone),
    ("clockJump", At::Alone),
    ("commitAfterPreCommitHook", At::Alone),
    ("commitBeforePreCommitHook", At::Alone),
    ("compactAfterAcquiredBatchTxLock", At::Alone),
    ("compactAfterCommitBatch", At::Alone),
    ("compactAfterCommitScheduledCompact", At::Alone),
    ("compactAfterSetFinishedCompact", At::Alone),
    ("compactBeforeCommitBatch", At::Alone),
    ("compactBeforeCommitScheduledCompact", At::Alone),
    ("compactBeforeSetFinishedCompact", At::Alone),
    ("defragBeforeCopy", At::Defragment),
    ("defragOpenFileError", At::Defragment),
    ("defragdbFail", At::Defragment),
    ("raftAfterApplySnap", At::Lagging),
    ("raftAfterSave", At::Alone),
    ("raftAfterSaveSnap", At::Lagging),
    ("raftAfterWALRelease", At::Alone),
    ("raftBeforeAdvance", At::Alone),
    ("raftBeforeApplySnap", At::Lagging),
    ("raftBeforeFollowerSend", At::Follower),
    ("raftBeforeLeaderSend", At::Leader),
    ("raftBeforeSave", At::Alone),
    ("raftBeforeSaveSnap", At::Lagging),
    ("raftDropHeartbeat", At::Follower),
    ("walAfterSync", At::Alone),
    ("walBeforeSync", At::Alone),
    ("walDuringSync", At::Alone),
    ("walSyncError", At::Alone),
];

/// Names of etcd's that nothing here corresponds to.
const ABSENT: [&str; 2] = ["defragBeforeRename", "raftBeforeWALSaveSnaphot"];

/// Acknowledged writes before a crash, and after it.
const WRITES: u64 = 10;
/// Acknowledged writes while a member is away, more than are kept for those who lag.
const WRITES_AWAY: u64 = 150;
/// How often a member is taken away until a snapshot is sent to it.
const ABSENCES_MAX: usize = 8;

fn points(at: &'static [At]) -> impl Iterator<Item = (&'static str, At)> {
    POINTS.into_iter().filter(|(_, row)| at.contains(row))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_one_comes_back_whole_from_a_crash_at_each_point() -> Result<()> {
    let mut stage = Stage::new(1)?;
    stage.start(0)?;
    check_interface(&stage)?;
    let mut load = Load::new(stage.endpoints())?;
    for (point, at) in points(&[At::Start, At::Alone, At::Change, At::Defragment]) {
        async {
            load.begin();
            load.acknowledged(WRITES).await?;
            if at == At::Start {
                stage.kill_9(0)?;
                stage.start_armed(0, point)?;
            } else {
                stage.arm(0, point)?;
            }
            match at {
                At::Change => stage.change_members().await?,
                At::Defragment => stage.defragment().await.map(drop)?,
                At::Start | At::Alone | At::Leader | At::Follower | At::Lagging => {}
            }
            stage.died(0, point)?;
            stage.start(0)?;
            load.acknowledged(WRITES).await?;
            load.end_and_check().await
        }
        .await
        .with_context(|| format!("{point}\n{}", stage.log(0)))?;
    }
    println!("{}", load.summary());
    a_defragmentation_fails_as_told(&stage).await
}

/// `return("text")` at the points of etcd's that are errors.
async fn a_defragmentation_fails_as_told(stage: &Stage) -> Result<()> {
    for point in ["defragOpenFileError", "defragdbFail"] {
        stage.put(0, point, "return(\"no room\")")?;
        let refusal = stage.defragment().await?.err().context("it should fail")?;
        ensure!(refusal.message().contains("no room"), "{refusal}");
        stage.clear(0, point)?;
    }
    stage.defragment().await?.map_err(Into::into)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_three_comes_back_whole_from_a_crash_at_each_point() -> Result<()> {
    let mut stage = Stage::new(3)?;
    stage.start_all()?;
    let mut load = Load::new(stage.endpoints())?;
    for (point, at) in points(&[At::Leader, At::Follower, At::Lagging]) {
        let leader = stage.leader().await?;
        let member = if at == At::Leader { leader } else { (leader + 1) % 3 };
        async {
            load.begin();
            load.acknowledged(WRITES).await?;
            if at == At::Lagging {
                // For some seconds after a snapshot has arrived the leader keeps its log: whoever comes
                // back then gets entries.
                for _ in 0..ABSENCES_MAX {
                    stage.kill_9(member)?;
                    load.acknowledged(WRITES_AWAY).await?;
                    stage.start_armed(member, point)?;
                    if stage.dies(member) {
                        break;
                    }
                }
            } else {
                stage.arm(member, point)?;
            }
            stage.died(member, point)?;
            load.acknowledged(WRITES).await?;
            stage.start(member)?;
            load.end_and_check().await
        }
        .await
        .with_context(|| format!("{point} at member {member}\n{}", stage.log(member)))?;
    }
    a_member_that_hears_nothing_catches_up(&stage).await?;
    println!("{}", load.summary());
    Ok(())
}

/// `return` at `raftDropHeartbeat` drops every message, as in etcd.
async fn a_member_that_hears_nothing_catches_up(stage: &Stage) -> Result<()> {
    const POINT: &str = "raftDropHeartbeat";
    let leader = stage.leader().await?;
    let deaf = (leader + 1) % 3;
    let (leader, deaf_store) = (stage.store(leader)?, stage.store(deaf)?);
    stage.put(deaf, POINT, "return")?;
    let key = bytes::Bytes::from_static(b"news");
    leader.put(pb::PutRequest { key: key.clone(), ..Default::default() }).await?;
    let dropped = curl(&[&stage.url(deaf, "raftDropHeartbeat/count")])?;
    ensure!(dropped.0 == 200 && dropped.1 != "0", "{dropped:?}");
    let mut read = pb::RangeRequest { key, serializable: true, ..Default::default() };
    ensure!(deaf_store.range(read.clone()).await?.kvs.is_empty(), "it has heard of it");
    stage.clear(deaf, POINT)?;
    read.serializable = false;
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        // It knows no leader for a while.
        match deaf_store.range(read.clone()).await {
            Ok(answer) => break ensure!(answer.kvs.len() == 1, "{answer:?}"),
            Err(error) => ensure!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// What gofail's clients ask for, and that the table has every point.
fn check_interface(stage: &Stage) -> Result<()> {
    let list: String = POINTS.iter().map(|(point, _)| format!("{point}=\n")).collect();
    let listed = curl(&[&stage.url(0, "")])?;
    ensure!(listed == (200, list), "{listed:?}");
    for absent in ABSENT {
        let answer = curl(&["-X", "PUT", "-d", "panic", &stage.url(0, absent)])?;
        let text = "fail to set failpoint: failpoint: failpoint does not exist\n";
        ensure!(answer == (404, text.to_owned()), "{absent}: {answer:?}");
    }
    stage.put(0, "walBeforeSync", "1*sleep(1)->1*print")?;
    stage.clear(0, "walBeforeSync")
}

#[test]
fn a_release_has_no_failpoints() -> Result<()> {
    let points = failpoint_binary()?;
    ensure!(points != keelson_tests::cluster::binary(), "one binary for both");
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let address = format!("127.0.0.1:{}", keelson_tests::ports::free(1)?[0]);
    let variables =
        [("GOFAIL_HTTP", address.as_str()), ("GOFAIL_FAILPOINTS", "walAfterSync=panic")];
    let mut store = StoreProcess::start(&alone.flags, &variables, &dir.path().join("log"))?;
    store.ready()?;
    let connected = std::net::TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(5));
    ensure!(connected.is_err(), "somebody answers at {address}");
    Ok(())
}
