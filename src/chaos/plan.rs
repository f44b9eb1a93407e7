//! The plan of a run: its faults, from the scenario or drawn from the seed.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::options::Workload;
use super::scenario::{Fault, Step, Who};

/// A run as it will be.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Members.
    pub members: usize,
    /// How long clients ask.
    pub duration: Duration,
    /// What they do.
    pub workload: Vec<Workload>,
    /// More flags for every member.
    pub server_flags: Vec<String>,
    /// The faults, by time.
    pub steps: Vec<Step>,
}

/// What the run can do to members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// Members have failpoints.
    pub failpoints: bool,
    /// Links have proxies.
    pub delays: bool,
}

/// Before the first fault, and after the last.
const QUIET: Duration = Duration::from_secs(2);

/// How far a clock jumps: two hours.
const JUMP_MS_MAX: i64 = 2 * 60 * 60 * 1000;

/// Faults by lot: the same ones for the same seed, means and size.
pub fn draw(seed: u64, members: usize, duration: Duration, means: Means) -> Vec<Step> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut kinds = vec![
        Fault::Kill,
        Fault::Kill,
        Fault::Pause,
        Fault::Isolate,
        Fault::Isolate,
        Fault::Deaf,
        Fault::Mute,
        Fault::Halves,
        Fault::HalfOpen,
        Fault::Flap,
        Fault::Loss,
    ];
    if members >= 3 {
        kinds.push(Fault::Replace);
    }
    if members >= 5 {
        kinds.extend([Fault::Bridge, Fault::Ring]);
    }
    if means.delays {
        kinds.extend([Fault::Delay, Fault::Delay]);
    }
    if means.failpoints {
        kinds.extend([Fault::SlowDisk, Fault::SlowDisk, Fault::FailSync, Fault::ClockJump]);
    }
    let mut steps = Vec::new();
    let mut at = QUIET;
    loop {
        let lasts = Duration::from_millis(random.random_range(300..4000));
        let fault = *kinds.choose(&mut random).unwrap_or(&Fault::Kill);
        let who = match random.random_range(0..10) {
            0..6 => Who::Leader,
            6..8 => Who::Follower,
            8 if fault == Fault::Kill || fault == Fault::Pause => Who::All,
            _ => Who::Any,
        };
        let ms = match fault {
            Fault::Delay => random.random_range(20..600),
            Fault::SlowDisk => random.random_range(50..3000),
            Fault::Flap => random.random_range(100..900),
            Fault::ClockJump => random.random_range(-JUMP_MS_MAX..JUMP_MS_MAX),
            _ => 0,
        };
        let percent = random.random_range(5..60);
        let gap = Duration::from_millis(random.random_range(200..2500));
        if at + lasts + QUIET > duration {
            return steps;
        }
        let ms = (ms != 0).then_some(ms);
        let percent = (fault == Fault::Loss).then_some(percent);
        steps.push(Step { at, lasts: Some(lasts), fault, who, ms, percent });
        at += lasts + gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_faults_again_and_leaves_the_ends_quiet() {
        let means = Means { failpoints: true, delays: true };
        let length = Duration::from_secs(60);
        for seed in 0..50 {
            let steps = draw(seed, 5, length, means);
            assert_eq!(steps, draw(seed, 5, length, means));
            assert!(steps.len() > 5, "{seed}: {}", steps.len());
            let ends = steps.iter().map(|step| step.at + step.lasts.unwrap_or_default());
            assert!(ends.max().unwrap() + QUIET <= length);
        }
        assert_ne!(draw(1, 3, length, means), draw(2, 3, length, means));
    }
}
