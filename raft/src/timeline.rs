//! Timeline: what a member was, when, for how long back as there is room; told to whoever asks.
//!
//! Nothing is decided by it. Times are of the wall clock, so that those of several members can be
//! laid beside each other as far as their clocks agree.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keelson_storage::disk::wall_clock;
use openraft::ServerState;
use parking_lot::Mutex;

/// Moments that are kept.
const CHANGES_MAX: usize = 512;

/// What a member is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has no vote.
    Learner,
    /// It follows, or waits for somebody to follow.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
    /// It takes part no more.
    Stopped,
}

impl Role {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Stopped => "stopped",
        }
    }
}

impl From<ServerState> for Role {
    fn from(state: ServerState) -> Self {
        match state {
            ServerState::Learner => Self::Learner,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Leader => Self::Leader,
            ServerState::Shutdown => Self::Stopped,
        }
    }
}

/// What a member was from some time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleChange {
    /// Since 1970, by a clock that may jump.
    pub since_epoch: Duration,
    /// The same moment by one that does not.
    pub since: Instant,
    /// The term.
    pub term: u64,
    /// What it was.
    pub role: Role,
    /// Whom it followed, if anybody.
    pub leader: Option<u64>,
    /// Why it became so, as far as the member itself can tell.
    pub cause: String,
}

/// The changes of one member; clones share all.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    changes: Arc<Mutex<VecDeque<RoleChange>>>,
}

impl Timeline {
    /// Writes down what the member is, if that is news.
    ///
    /// `silent` tells how long nothing was heard of a leader.
    pub(crate) fn write(
        &self,
        now: (u64, Role, Option<u64>),
        own: u64,
        silent: impl FnOnce(u64) -> Option<Duration>,
    ) {
        let (since_epoch, since) = (wall_clock(), Instant::now());
        let (term, role, leader) = now;
        let mut changes = self.changes.lock();
        let last = changes.back();
        if last.is_some_and(|last| (last.term, last.role, last.leader) == now) {
            return;
        }
        let cause = cause(last, now, own, silent);
        if changes.len() == CHANGES_MAX {
            changes.pop_front();
        }
        changes.push_back(RoleChange { since_epoch, since, term, role, leader, cause });
    }

    /// All that is kept, the oldest first.
    pub fn changes(&self) -> Vec<RoleChange> {
        self.changes.lock().iter().cloned().collect()
    }
}

/// Why a member became what it is now.
fn cause(
    last: Option<&RoleChange>,
    (term, role, leader): (u64, Role, Option<u64>),
    own: u64,
    silent: impl FnOnce(u64) -> Option<Duration>,
) -> String {
    let Some(last) = last else { return "it started".to_owned() };
    let former = last.leader.filter(|former| *former != own);
    match role {
        Role::Leader => format!("a quorum voted for it in term {term}"),
        Role::Stopped => "it stopped".to_owned(),
        Role::Candidate => match former {
            Some(former) => match silent(former) {
                Some(silent) => {
                    format!("nothing was heard of leader {former:x} for {} ms", silent.as_millis())
                }
                None => format!("nothing was heard of leader {former:x}"),
            },
            None => "nobody leads".to_owned(),
        },
        Role::Follower | Role::Learner if last.role == Role::Leader && term > last.term => {
            format!("another member is in term {term}")
        }
        Role::Follower | Role::Learner if last.role == Role::Leader => {
            "no quorum answered it".to_owned()
        }
        Role::Follower | Role::Learner => match leader {
            Some(leader) if term > last.term => format!("{leader:x} leads term {term}"),
            Some(leader) => format!("heard of leader {leader:x}"),
            None if term > last.term => format!("somebody asks for votes in term {term}"),
            None => "the leader is lost".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_is_kept_and_only_so_much_of_it() {
        let timeline = Timeline::default();
        for number in 0..2000 {
            timeline.write((number / 2, Role::Follower, Some(7)), 1, |_| None);
        }
        let changes = timeline.changes();
        assert_eq!(changes.len(), CHANGES_MAX);
        assert_eq!(changes.last().map(|last| last.term), Some(999));
    }

    #[test]
    fn each_moment_has_a_cause() {
        let timeline = Timeline::default();
        let silent = |_| Some(Duration::from_millis(310));
        timeline.write((1, Role::Follower, None), 1, silent);
        timeline.write((1, Role::Follower, Some(2)), 1, silent);
        timeline.write((2, Role::Candidate, None), 1, silent);
        timeline.write((2, Role::Leader, Some(1)), 1, silent);
        timeline.write((3, Role::Follower, None), 1, silent);
        let causes: Vec<String> = timeline.changes().into_iter().map(|one| one.cause).collect();
        assert_eq!(
            causes,
            [
                "it started",
                "heard of leader 2",
                "nothing was heard of leader 2 for 310 ms",
                "a quorum voted for it in term 2",
                "another member is in term 3",
            ]
        );
    }
}
