//! Leases of three members: what a leader that was paused may say and do, and what is left of a
//! lease after an election.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keelson_client::{GrpcStore, Store as _};
use keelson_proto::etcdserverpb as pb;
use keelson_tests::Members;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// For what has no limit that is asserted.
const PATIENCE: Duration = Duration::from_secs(60);
/// The key that each lease here has.
const KEY: &str = "leased";

async fn three() -> Result<Members> {
    let flags = ["--heartbeat-interval=50", "--election-timeout=500"].map(str::to_owned);
    Members::start_with(3, "http", &flags).await
}

async fn grant(store: &GrpcStore, ttl_seconds: i64) -> Result<i64> {
    let lease = store.lease_grant(0, ttl_seconds).await?;
    let put = pb::PutRequest { key: KEY.into(), lease, ..Default::default() };
    store.put(put).await?;
    Ok(lease)
}

async fn there(store: &GrpcStore) -> Result<bool> {
    let request = pb::RangeRequest { key: KEY.into(), ..Default::default() };
    Ok(store.range(request).await?.count == 1)
}

/// Who leads, once it is another one.
async fn leader_after(members: &Members, old: usize, ask: usize) -> Result<usize> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Ok(Some(leader)) = members.leader(ask).await
            && leader != old
        {
            return Ok(leader);
        }
        ensure!(Instant::now() < end, "no other leader");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn wait_until_gone(store: &GrpcStore) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while there(store).await? {
        ensure!(Instant::now() < end, "the lease does not end");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

// upstream: etcd v3 API, "LeaseKeepAlive": a stalled former leader must not renew
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_paused_neither_renews_nor_ends_a_lease() -> Result<()> {
    const TTL_SECONDS: i64 = 2;
    let ttl = Duration::from_secs(TTL_SECONDS.unsigned_abs());
    let mut members = three().await?;
    let old = members.leader(0).await?.context("a leader")?;
    let other = (old + 1) % 3;
    let lease = grant(&members.client(other)?, TTL_SECONDS).await?;

    members.pause(old)?;
    // It lies in the socket of the paused one until that goes on.
    let of_old = members.client(old)?;
    let asked = tokio::spawn(async move { of_old.lease_keep_alive(lease).await });
    let new = leader_after(&members, old, other).await?;
    let store = members.client(new)?;
    let held = Instant::now();
    while held.elapsed() < ttl * 2 {
        ensure!(store.lease_keep_alive(lease).await? == TTL_SECONDS, "the new leader renews");
        tokio::time::sleep(PAUSE).await;
    }

    members.resume(old)?;
    // For the paused one its time is long over; true is that it was renewed.
    if let Ok(ttl_seconds) = asked.await? {
        ensure!(ttl_seconds == TTL_SECONDS, "the former leader says {ttl_seconds}");
    }
    let resumed = Instant::now();
    while resumed.elapsed() < ttl {
        ensure!(store.lease_keep_alive(lease).await? == TTL_SECONDS, "it was ended");
        if let Ok(ttl_seconds) = members.client(old)?.lease_keep_alive(lease).await {
            ensure!(ttl_seconds == TTL_SECONDS, "the former leader says {ttl_seconds}");
        }
        tokio::time::sleep(PAUSE).await;
    }
    for index in 0..3 {
        ensure!(there(&members.client(index)?).await?, "the key is gone at member {index}");
    }
    wait_until_gone(&store).await?;
    ensure!(members.client(old)?.lease_keep_alive(lease).await? == 0, "it has ended");
    Ok(())
}

/// The bound: a new leader gives a lease what the log says is left of it (its whole time where that
/// is less than five minutes), and one election timeout, from when it takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_lives_through_elections_and_never_ends_early() -> Result<()> {
    const TTL_SECONDS: i64 = 5;
    const KILLS: usize = 2;
    let ttl = Duration::from_secs(TTL_SECONDS.unsigned_abs());
    let mut members = three().await?;
    let first = members.leader(0).await?.context("a leader")?;
    let lease = grant(&members.client((first + 1) % 3)?, TTL_SECONDS).await?;
    let mut leader = first;
    for _ in 0..KILLS {
        let ask = (leader + 1) % 3;
        members.kill_9(leader)?;
        // Renewed while nobody leads: the answer waits for the next leader.
        let renewed = Instant::now();
        ensure!(members.client(ask)?.lease_keep_alive(lease).await? == TTL_SECONDS, "renewed");
        let next = leader_after(&members, leader, ask).await?;
        members.start_one(leader)?;
        members.ready(leader).await?;
        let store = members.client(next)?;
        while there(&store).await? {
            if renewed.elapsed() >= ttl / 2 {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        ensure!(renewed.elapsed() >= ttl / 2, "it ended {:?} after a renewal", renewed.elapsed());
        leader = next;
    }

    let renewed = Instant::now();
    let ask = (leader + 1) % 3;
    ensure!(members.client(ask)?.lease_keep_alive(lease).await? == TTL_SECONDS, "renewed");
    members.kill_9(leader)?;
    leader_after(&members, leader, ask).await?;
    wait_until_gone(&members.client(ask)?).await?;
    let lived = renewed.elapsed();
    ensure!(lived >= ttl, "it ended {lived:?} after a renewal for {ttl:?}");
    println!("a lease of {ttl:?} ended {lived:?} after its last renewal, with an election between");
    Ok(())
}
