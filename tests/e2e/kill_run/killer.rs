//! The killer: who is struck, when and how, by a seed; the dead come back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keelson_client::Store as _;
use keelson_tests::Members;
use keelson_tests::wall_clock::WallClocks;
use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::load::Load;

/// The longest time between a member's return and the next blow.
const QUIET_MS_MAX: u64 = 500;
/// The longest time that a member stays dead.
const DEAD_MS_MAX: u64 = 400;
/// For an election, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);
/// How far a clock jumps.
const JUMP_SECONDS_MAX: i64 = 12 * 3600;

/// What can happen to members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// `kill -9` of whoever leads.
    Leader,
    /// `kill -9` of anybody.
    One,
    /// `kill -9` of all.
    All,
    /// The leader stands still until another one leads, and for a while after.
    Pause,
    /// Clocks of one or more are hours fast or slow from now on.
    Clocks,
}

impl Blow {
    pub(super) const ALL: [Self; 5] =
        [Self::Leader, Self::One, Self::All, Self::Pause, Self::Clocks];
}

/// Strikes members.
pub(super) struct Killer<'a> {
    pub(super) members: &'a mut Members,
    pub(super) clocks: &'a WallClocks,
    pub(super) random: &'a mut SmallRng,
}

impl Killer<'_> {
    /// So many blows, all kinds of them in turns; what happened when, by the run's clock.
    pub(super) async fn strike(
        mut self,
        rounds: usize,
        load: &mut Load,
    ) -> Result<Vec<(Blow, u64)>> {
        let (mut struck, mut coming) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            self.pause(QUIET_MS_MAX).await;
            load.writes(1).await?;
            if coming.is_empty() {
                coming = Blow::ALL.to_vec();
                coming.shuffle(self.random);
            }
            let blow = coming.pop().unwrap_or(Blow::Leader);
            let leader = self.leader(&[0, 1, 2]).await?;
            struck.push((blow, load.run.now()));
            let back = self.strike_once(blow, leader).await?;
            // At times the next blow comes before this one is back.
            if self.random.random_ratio(3, 4) {
                self.members.ready(back).await?;
            }
            if let Ok(now) = self.members.client((back + 1) % 3)?.revision().await {
                load.watchers.open_late(now, self.random);
            }
        }
        Ok(struck)
    }

    /// One blow; who has to get over it.
    async fn strike_once(&mut self, blow: Blow, leader: usize) -> Result<usize> {
        let victim = match blow {
            Blow::Leader | Blow::Pause => leader,
            Blow::One | Blow::All | Blow::Clocks => self.random.random_range(0..3),
        };
        match blow {
            Blow::Leader | Blow::One => self.kill(&[victim]).await?,
            Blow::All => self.kill(&[0, 1, 2]).await?,
            Blow::Pause => {
                self.members.pause(leader)?;
                let others = [(leader + 1) % 3, (leader + 2) % 3];
                let next = self.leader(&others).await;
                self.pause(DEAD_MS_MAX).await;
                self.members.resume(leader)?;
                ensure!(next? != leader, "{leader} leads while it stands still");
            }
            Blow::Clocks => {
                for index in 0..3 {
                    if index == victim || self.random.random() {
                        let seconds = self.random.random_range(-JUMP_SECONDS_MAX..JUMP_SECONDS_MAX);
                        self.clocks.jump(index, seconds)?;
                    }
                }
            }
        }
        Ok(victim)
    }

    async fn kill(&mut self, victims: &[usize]) -> Result<()> {
        for &victim in victims {
            self.members.kill_9(victim)?;
        }
        self.pause(DEAD_MS_MAX).await;
        for &victim in victims {
            self.members.start_one(victim)?;
        }
        Ok(())
    }

    async fn pause(&mut self, longest_ms: u64) {
        let pause = Duration::from_millis(self.random.random_range(0..longest_ms));
        tokio::time::sleep(pause).await;
    }

    /// Who leads, as soon as one of these says so.
    async fn leader(&self, asked: &[usize]) -> Result<usize> {
        let end = Instant::now() + PATIENCE;
        loop {
            for &index in asked {
                if let Ok(Some(leader)) = self.members.leader(index).await {
                    return Ok(leader);
                }
            }
            ensure!(Instant::now() < end, "nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
