//! Looks at all members again and again, and writes down what changes: who leads, in which term, who
//! is down or paused. A member of ours remembers what it was, to the microsecond and with the cause.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keelson_check::Line;
use tokio::task::JoinSet;

use super::cluster::{Cluster, name};
use super::record::Record;
use super::syncs::Syncs;
use crate::store::timeline;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(80);
/// So many looks for one at what the member remembers.
const LOOKS: u32 = 4;
/// A clock that is wrong by more has jumped.
const JUMP_MICROS: u64 = 400_000;
/// How long it may take to tell.
const TELL_MAX: Duration = Duration::from_millis(500);

/// One task a member; ended when dropped.
pub fn start(cluster: &Arc<Cluster>, record: &Record) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for at in 0..cluster.size() {
        let (cluster, record) = (Arc::clone(cluster), record.clone());
        let (last, told) = ((String::new(), 0), BTreeSet::new());
        let syncs = Syncs::new(name(at), cluster.addresses(at).client, record.clone());
        tasks.spawn(Observer { cluster, at, record, last, told, syncs }.run());
    }
    tasks
}

/// Who looks at one member.
struct Observer {
    cluster: Arc<Cluster>,
    at: usize,
    record: Record,
    /// Role and term, as they were seen last.
    last: (String, u64),
    /// What the member has told of itself: when, by its clock, in which term.
    told: BTreeSet<(u64, u64)>,
    syncs: Syncs,
}

impl Observer {
    async fn run(mut self) {
        for look in 0_u32.. {
            if look.is_multiple_of(LOOKS) {
                self.listen().await;
            }
            if let Some(seen) = self.look().await
                && seen != self.last
            {
                let dark = |role: &str| role == "down" || role == "paused";
                // What it was in between, it tells better itself.
                if self.told.is_empty() || dark(&seen.0) || dark(&self.last.0) {
                    self.write(self.record.now(), seen.0.clone(), seen.1, String::new());
                }
                self.last = seen;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The role and the term; `None`: it does not answer.
    async fn look(&self) -> Option<(String, u64)> {
        if let Some(condition) = self.cluster.condition(self.at) {
            return Some((condition.to_owned(), self.last.1));
        }
        let status = self.cluster.status(self.at).await?;
        let own = status.header.map_or(0, |header| header.member_id);
        let role = match status.leader {
            0 => "leaderless",
            leader if leader == own => "leader",
            _ if status.is_learner => "learner",
            _ => "follower",
        };
        Some((role.to_owned(), status.raft_term))
    }

    /// What the member remembers of itself since it was last asked.
    async fn listen(&mut self) {
        if self.cluster.condition(self.at).is_some() {
            return;
        }
        self.syncs.look().await;
        let endpoint = self.cluster.addresses(self.at).client;
        let told = tokio::time::timeout(TELL_MAX, timeline::fetch(&endpoint, None)).await;
        let Ok(Ok(told)) = told else { return };
        let now = self.record.now();
        for change in told.changes {
            if self.told.insert((change.unix_micros, change.term)) {
                let ago = now.saturating_sub(change.micros_ago);
                let at = self.record.of_unix_micros(change.unix_micros);
                // Its clock is the exact one, unless it has jumped.
                let at = if at.abs_diff(ago) > JUMP_MICROS { ago } else { at };
                self.write(at, change.role, change.term, change.cause);
            }
        }
    }

    fn write(&self, at: u64, role: String, term: u64, cause: String) {
        let member = name(self.at);
        self.record.write(Line::State { at, member, role, term, cause });
    }
}
