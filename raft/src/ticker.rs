//! Ticker: lets the library's clock stand still while it has nothing to decide.
//!
//! The library looks at its timers five times in a heartbeat, on every member, for ever. A follower
//! that hears its leader needs none of that, and an idle leader nothing but its heartbeats, which are
//! sent from here then. Whoever hears nothing for three heartbeats, and whoever has something to
//! replicate, has the clock back: well before any timeout ends.

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::leadership::Leadership;
use crate::log::LogStore;
use crate::machine::Machine;
use crate::runtime::{Moment, Runtime};
use crate::types::{StoredMembership, Types};

/// A follower looks this often whether it has heard its leader, in heartbeats.
const LOOK_HEARTBEATS: u32 = 2;
/// An idle leader is heard this often, in heartbeats; or five times in an election, if that is more.
const IDLE_HEARTBEATS: u32 = 2;
const IN_AN_ELECTION: u32 = 5;
/// It does without for this long. An election takes at least five.
const SILENT_HEARTBEATS: u32 = 3;

/// Who was heard last as a leader, and when; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Option<(u64, Moment)>>>);

impl Heard {
    /// Something came from one that leads, or thinks so.
    pub(crate) fn from(&self, leader: u64) {
        *self.0.lock() = Some((leader, Moment::now()));
    }

    /// How long ago something came from this leader, if it was the last that was heard.
    pub(crate) fn age(&self, leader: u64) -> Option<Duration> {
        let heard = *self.0.lock();
        heard.filter(|(one, _)| *one == leader).map(|(_, when)| when.age())
    }

    fn within(&self, leader: Option<u64>, limit: Duration) -> bool {
        let heard = *self.0.lock();
        heard.is_some_and(|(one, when)| Some(one) == leader && when.age() < limit)
    }
}

/// The ticker's task.
pub(crate) struct Ticker {
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) log: LogStore,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) membership: watch::Receiver<StoredMembership>,
    pub(crate) heard: Heard,
    pub(crate) heartbeat: Duration,
    /// Between two heartbeats of an idle leader.
    pub(crate) idle_pause: Duration,
}

/// How long an idle leader lets its followers wait.
pub(crate) fn idle_pause(heartbeat: Duration, election: Duration) -> Duration {
    (heartbeat * IDLE_HEARTBEATS).min(election / IN_AN_ELECTION).max(heartbeat)
}

impl Ticker {
    /// Runs until consensus stops.
    pub(crate) async fn run(mut self) {
        let mut last = None;
        loop {
            let now = *self.leadership.borrow_and_update();
            let alone = now.is_own && self.membership.borrow().nodes().count() == 1;
            let idle = std::mem::replace(&mut last, self.log.last()) == last;
            let silent = self.heartbeat * SILENT_HEARTBEATS;
            // Who leads alone has nobody to tell and nobody to lose.
            let stands = match now.is_own {
                true => alone || idle,
                false => self.heard.within(now.leader, silent),
            };
            self.raft.runtime_config().tick(!stands);
            if now.is_own && stands && !alone && self.raft.trigger().heartbeat().await.is_err() {
                return;
            }
            let pause = match now.is_own {
                true if idle => self.idle_pause,
                true => self.heartbeat,
                false => self.heartbeat * LOOK_HEARTBEATS,
            };
            let changed = tokio::select! {
                biased;
                changed = self.leadership.changed() => changed,
                changed = self.membership.changed() => changed,
                () = Runtime::sleep(pause), if !alone => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_leader_is_heard_five_times_in_an_election() {
        let of = |heartbeat, election| {
            idle_pause(Duration::from_millis(heartbeat), Duration::from_millis(election))
                .as_millis()
        };
        assert_eq!(of(100, 1000), 200);
        assert_eq!(of(20, 100), 20);
        assert_eq!(of(30, 200), 40);
        assert_eq!(of(100, 300), 100, "as often as asked for, whatever the election");
    }
}
