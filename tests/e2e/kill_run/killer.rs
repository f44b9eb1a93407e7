//! The killer: `kill -9` of whoever leads, at random moments; the dead come back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keelson_client::Store as _;
use keelson_tests::Members;
use rand::Rng as _;
use rand::rngs::SmallRng;

use super::watchers::Watchers;
use super::{Run, wait_until};

/// The longest time between a member's return and the next kill.
const QUIET_MS_MAX: u64 = 800;
/// The longest time that a member stays dead.
const DEAD_MS_MAX: u64 = 600;
/// For an election, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills the leader so many times; when each of them died, by the run's clock.
pub(super) async fn kill(
    members: &mut Members,
    kills: usize,
    run: &Run,
    watchers: &mut Watchers,
    random: &mut SmallRng,
) -> Result<Vec<u64>> {
    let mut killed = Vec::new();
    for _ in 0..kills {
        let before = run.acknowledged.load(Ordering::Relaxed);
        pause(random, QUIET_MS_MAX).await;
        wait_until(|| run.acknowledged.load(Ordering::Relaxed) > before, "a write").await?;
        let leader = leader(members).await?;
        members.kill_9(leader)?;
        killed.push(run.now());
        pause(random, DEAD_MS_MAX).await;
        members.start_one(leader)?;
        // At times the next leader dies before this one is back.
        if random.random_ratio(3, 4) {
            members.ready(leader).await?;
        }
        if let Ok(now) = members.client((leader + 1) % 3)?.revision().await {
            watchers.open_late(now, random);
        }
    }
    Ok(killed)
}

async fn pause(random: &mut SmallRng, longest_ms: u64) {
    let pause = Duration::from_millis(random.random_range(0..longest_ms));
    tokio::time::sleep(pause).await;
}

/// Who leads, as soon as one does.
async fn leader(members: &Members) -> Result<usize> {
    let end = Instant::now() + PATIENCE;
    loop {
        for index in 0..members.endpoints().len() {
            if let Ok(Some(leader)) = members.leader(index).await {
                return Ok(leader);
            }
        }
        ensure!(Instant::now() < end, "nobody leads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
