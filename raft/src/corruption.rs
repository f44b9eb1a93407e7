//! Corruption: whether all members hold the same history. A member whose hash is not that of most
//! is named, and the alarm stops all writes until an operator has dealt with it.
// upstream: etcd v3, "Data corruption", periodic check

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use keelson_proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};
use keelson_proto::raft as pb;
use keelson_storage::command::{Command, Op, command};
use keelson_storage::view::View;
use tokio::sync::watch;

use crate::leadership::Leadership;
use crate::machine::blocking;
use crate::peers::Peers;
use crate::propose::Propose;
use crate::runtime::Runtime;

/// This member's hash up to a revision.
pub(crate) async fn hash_here(view: &View, revision: i64) -> io::Result<pb::HashReply> {
    let view = view.clone();
    let hash = blocking(move || view.hash_kv(revision)).await?;
    Ok(match hash {
        Ok(hash) => pb::HashReply { known: true, hash: hash.hash, compacted: hash.compacted },
        Err(_) => pb::HashReply::default(),
    })
}

/// Those whose history is not that of most, or, where there is no most, not this member's.
pub(crate) async fn compare(view: &View, peers: &Peers) -> Vec<u64> {
    let own = peers.directory.own();
    let revision = view.revision();
    let members: Vec<u64> = {
        let membership = peers.membership.borrow();
        membership.membership().nodes().map(|(id, _)| *id).collect()
    };
    let Ok(reference) = hash_here(view, revision).await else { return Vec::new() };
    let mut hashes = BTreeMap::from([(own, reference.hash)]);
    for id in members.iter().filter(|id| **id != own) {
        match peers.hash(*id, revision).await {
            Ok(reply) if reply.known && reply.compacted == reference.compacted => {
                hashes.insert(*id, reply.hash);
            }
            // It is behind, or away, or compacted further: nothing can be said of it now.
            Ok(_) | Err(_) => {}
        }
    }
    odd_ones(&hashes, own, members.len())
}

fn odd_ones(hashes: &BTreeMap<u64, u32>, own: u64, members: usize) -> Vec<u64> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for hash in hashes.values() {
        *counts.entry(*hash).or_default() += 1;
    }
    let most = counts.iter().find(|(_, count)| **count > members / 2);
    let Some(right) = most.map(|(hash, _)| *hash).or_else(|| hashes.get(&own).copied()) else {
        return Vec::new();
    };
    hashes.iter().filter(|(_, hash)| **hash != right).map(|(id, _)| *id).collect()
}

/// When members are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Each interval.
    Interval,
    /// Each interval in which a compaction has ended.
    Compaction,
}

/// The task that compares again and again, while this member leads.
pub(crate) struct CorruptionCheck {
    pub(crate) view: View,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) interval: Duration,
    /// What it waits for beside that.
    pub(crate) after: After,
    pub(crate) propose: Propose,
}

impl CorruptionCheck {
    /// Runs until leadership is no longer watched.
    pub(crate) async fn run(self) {
        let compactions = self.view.compaction_done();
        let mut compacted = *compactions.borrow();
        while self.leadership.has_changed().is_ok() {
            Runtime::sleep(self.interval).await;
            let before = std::mem::replace(&mut compacted, *compactions.borrow());
            let is_due = self.after == After::Interval || compacted > before;
            if !is_due || !self.leadership.borrow().is_own {
                continue;
            }
            for member_id in compare(&self.view, &self.peers).await {
                let alarm = AlarmType::Corrupt as i32;
                if self.view.alarms().contains(&(alarm, member_id)) {
                    continue;
                }
                tracing::error!(member = member_id, "found data inconsistency with peers");
                let action = AlarmAction::Activate as i32;
                let raise = command(Op::Alarm(AlarmRequest { action, member_id, alarm }));
                (self.propose)(Command { trusted: true, ..raise }).await;
            }
            match self.after {
                After::Interval => tracing::info!("finished peer corruption check"),
                After::Compaction => tracing::info!(
                    "compact-revision" = compacted,
                    "number-of-hashes-checked" = 1,
                    "finished compaction hash check"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_members_are_right() {
        let none: [u64; 0] = [];
        let odd = |hashes: &[(u64, u32)], own| odd_ones(&hashes.iter().copied().collect(), own, 3);
        assert_eq!(odd(&[(1, 7), (2, 7), (3, 7)], 1), none);
        assert_eq!(odd(&[(1, 7), (2, 7), (3, 8)], 1), [3]);
        assert_eq!(odd(&[(1, 8), (2, 7), (3, 7)], 1), [1], "even the one that asks");
        assert_eq!(odd(&[(1, 7), (2, 8)], 1), [2], "one does not answer");
        assert_eq!(odd(&[(1, 7)], 1), none);
    }
}
