//! The plan: which faults come when, from the seed alone. A fault is known by its number, so that a
//! run can be repeated with some of them only.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::profile::{Kind, Profile};

/// Between two faults, at most.
const GAP_MAX_MS: u64 = 1400;

/// A fault and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) number: usize,
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// Whom a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Whoever leads, if anybody does.
    Leader,
    /// The member in this place, modulo their number.
    Place(u64),
}

/// Which way a partition cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    ToIt,
    FromIt,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A member loses its power.
    Crash { whom: Whom, down: Duration },
    /// All of them do.
    CrashAll { down: Duration, apart: Duration },
    /// A member loses its power twice, the second time while it starts.
    CrashTwice { whom: Whom, up: Duration },
    /// A member is cut off, from all or from some.
    Isolate { whom: Whom, way: Way, whole: bool, time: Duration },
    /// Two parts do not hear each other.
    Split { side: u64, time: Duration },
    /// A member's links come and go.
    Flap { whom: Whom, times: u32, period: Duration },
    /// A member's packets are late, or lost, or in disorder.
    Links { whom: Whom, delay: Duration, loss: u64, disorder: u64, time: Duration },
    /// A member's disk syncs slowly.
    SlowDisk { whom: Whom, least: Duration, time: Duration },
    /// A member's syncs fail.
    FailSyncs { whom: Whom },
    /// A member's disk is full for a while.
    FullDisk { whom: Whom, time: Duration },
    /// A synced byte of a member's disk changes; it starts again.
    BitRot { whom: Whom },
    /// A member stops for a while.
    Pause { whom: Whom, time: Duration },
    /// A member does something only now and then.
    Slow { whom: Whom, pause: Duration, times: u32 },
    /// A member's clock goes wrong by so many millionths.
    ClockRate { whom: Whom, millionths: i64 },
    /// A member's clock jumps.
    ClockJump { whom: Whom, by: Duration },
    /// Leadership is handed to another.
    MoveLeader { to: u64 },
    /// A member is removed for good, and a new one comes for it.
    Replace { whom: Whom, first: bool },
    /// A learner comes, and is promoted; the member that was there longest goes.
    Promote,
}

impl Whom {
    fn choose(random: &mut StdRng) -> Self {
        match random.random_range(0..5) {
            0 | 1 => Self::Leader,
            _ => Self::Place(random.random_range(0..1000)),
        }
    }
}

/// The faults of a seed, for as long as it lasts.
pub(crate) fn plan(seed: u64, length: Duration, profile: &Profile) -> Vec<Planned> {
    // Another stream of numbers than the one that decides everything else.
    let mut random = StdRng::seed_from_u64(seed ^ 0xfa01_7500_0000_0000);
    let mut planned = Vec::new();
    let mut at = Duration::from_millis(random.random_range(300..1500));
    while at < length {
        let fault = choose(&mut random, profile);
        planned.push(Planned { number: planned.len() + 1, at, fault });
        at += Duration::from_millis(random.random_range(20..GAP_MAX_MS));
    }
    planned
}

fn within(random: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.random_range(from..to))
}

fn choose(random: &mut StdRng, profile: &Profile) -> Fault {
    let kind = profile.choose(random);
    let whom = Whom::choose(random);
    match kind {
        Kind::Crash => match random.random_range(0..6) {
            0 => Fault::CrashTwice { whom, up: within(random, 1, 200) },
            _ => Fault::Crash { whom, down: within(random, 0, 900) },
        },
        Kind::CrashAll => {
            Fault::CrashAll { down: within(random, 0, 300), apart: within(random, 0, 100) }
        }
        Kind::Partition => {
            let time = within(random, 100, 2500);
            match random.random_range(0..10) {
                0..3 => Fault::Split { side: random.random(), time },
                3 => {
                    let times = random.random_range(3..8);
                    let period = within(random, 20, 250);
                    Fault::Flap { whom, times, period }
                }
                other => {
                    let way = [Way::Both, Way::Both, Way::ToIt, Way::FromIt][other % 4];
                    Fault::Isolate { whom, way, whole: random.random_range(0..4) > 0, time }
                }
            }
        }
        Kind::Network => Fault::Links {
            whom,
            delay: within(random, 0, 80),
            time: within(random, 200, 3000),
            loss: random.random_range(0..20),
            disorder: random.random_range(0..30),
        },
        Kind::Disk => match random.random_range(0..5) {
            0..2 => Fault::SlowDisk {
                whom,
                least: within(random, 5, 200),
                time: within(random, 300, 3000),
            },
            2 | 3 => Fault::FailSyncs { whom },
            _ => Fault::FullDisk { whom, time: within(random, 50, 800) },
        },
        Kind::Rot => Fault::BitRot { whom },
        Kind::Pause => match random.random_range(0..2) {
            0 => Fault::Pause { whom, time: within(random, 50, 2500) },
            _ => {
                let pause = within(random, 10, 80);
                Fault::Slow { whom, pause, times: random.random_range(5..40) }
            }
        },
        Kind::Clock => match random.random_range(0..2) {
            0 => {
                let millionths = random.random_range(-50_000..50_000);
                Fault::ClockRate { whom, millionths }
            }
            _ => Fault::ClockJump { whom, by: within(random, 20, 900) },
        },
        Kind::Membership => match random.random_range(0..5) {
            0 | 1 => Fault::MoveLeader { to: random.random_range(0..1000) },
            2 => Fault::Promote,
            _ => Fault::Replace { whom, first: random.random() },
        },
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("the leader"),
            Self::Place(place) => write!(f, "the member in place {place}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_plan_whose_beginning_does_not_depend_on_its_length() {
        let profile = Profile::default();
        let long = plan(7, Duration::from_secs(60), &profile);
        let short = plan(7, Duration::from_secs(20), &profile);
        assert_eq!(long[..short.len()], short);
        assert!(long.len() >= 60, "{} faults in a minute", long.len());
        assert_ne!(plan(8, Duration::from_secs(20), &profile), short);
    }
}
