//! The disk of a member fails under load: it stops, says why, others lead, and it comes back whole.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use keelson_tests::members::Own;
use keelson_tests::small_disk::{DiskFault, SmallDisk};
use keelson_tests::{Members, scratch};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::kill_run::load::Load;

const CLIENTS: u64 = 24;
/// Large enough that a disk which is nearly full is soon full.
const VALUE_BYTES: usize = 8 << 10;
/// Short elections, and the engine's state durable every few hundred writes.
const FLAGS: [&str; 4] = [
    "--heartbeat-interval=50",
    "--election-timeout=500",
    "--snapshot-count=400",
    "--snapshot-catchup-entries=200",
];
const DISK_MEBIBYTES: u64 = 96;

/// Three members under load; the first has its files where `link` has put its `m0`.
async fn start(link: impl FnOnce(&Path) -> Result<()>) -> Result<(Members, Load)> {
    let dir = scratch::dir("members")?;
    link(&dir.path().join("m0"))?;
    let flags = FLAGS.map(str::to_owned);
    let members = Members::start_in(dir, "http", &flags, vec![Own::default(); 3]).await?;
    let mut random = SmallRng::seed_from_u64(rand::random());
    let load = Load::start(&members, CLIENTS, VALUE_BYTES, &mut random)?;
    Ok((members, load))
}

/// The disk fails while the first member leads, or does not: the member ends, for one of these
/// reasons, and the others go on. Then the disk is well again, and so is the member.
async fn fail_and_come_back(
    members: &mut Members,
    load: &Load,
    disk: &mut SmallDisk,
    fault: DiskFault,
    leads: bool,
    reasons: &[&str],
) -> Result<()> {
    members.lead(if leads { 0 } else { 1 }).await?;
    load.writes(50).await?;
    let said_before = std::fs::read_to_string(members.log(0))?.len();
    disk.fail(fault)?;
    let code = tokio::task::block_in_place(|| members.ended(0));
    let log = std::fs::read_to_string(members.log(0))?.split_off(said_before);
    let code = code.with_context(|| log.clone())?;
    ensure!(code == 1, "{fault:?}: exit code {code}: {log}");
    ensure!(log.contains("this member stops"), "{fault:?}: {log}");
    ensure!(reasons.iter().any(|reason| log.contains(reason)), "{fault:?}: {log}");
    load.writes(50).await?;
    ensure!(members.leader(1).await?.is_some_and(|leader| leader != 0), "{fault:?}: nobody leads");

    disk.mend(fault)?;
    members.start_one(0)?;
    members.ready(0).await?;
    load.writes(50).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_disk_fails_stops_and_comes_back_whole() -> Result<()> {
    let mut disk = SmallDisk::new(DISK_MEBIBYTES)?;
    let data = disk.path().join("data");
    std::fs::create_dir(&data)?;
    let link = |link: &Path| Ok(std::os::unix::fs::symlink(&data, link)?);
    let (mut members, load) = start(link).await?;
    let faults = [
        (DiskFault::Full, true, "No space left on device"),
        (DiskFault::ReadOnly, false, "Read-only file system"),
        (DiskFault::Broken, true, "Input/output error"),
    ];
    for (fault, leads, reason) in faults {
        // What a disk says that the kernel has given up depends on who asks.
        let reasons = [reason, "Input/output error"];
        fail_and_come_back(&mut members, &load, &mut disk, fault, leads, &reasons).await?;
    }
    let kept = load.check(&members).await?;
    println!("{:?}, {} events to each of {}", kept.counts, kept.events, kept.watchers);
    Ok(())
}

/// The log has a disk of its own: what was acknowledged stays there until the state has room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_state_has_no_room_stops_and_comes_back_whole() -> Result<()> {
    let mut disk = SmallDisk::new(DISK_MEBIBYTES)?;
    let data = disk.path().join("data");
    std::fs::create_dir_all(data.join("member"))?;
    let log = scratch::dir("log")?;
    std::os::unix::fs::symlink(log.path(), data.join("member/wal"))?;
    let link = |link: &Path| Ok(std::os::unix::fs::symlink(&data, link)?);
    let (mut members, load) = start(link).await?;
    for leads in [true, false] {
        let reasons = ["No space left on device"];
        let full = DiskFault::Full;
        fail_and_come_back(&mut members, &load, &mut disk, full, leads, &reasons).await?;
    }
    load.check(&members).await?;
    Ok(())
}
