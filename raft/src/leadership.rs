//! Leadership: who leads, as this member knows; a watch that everybody shares.

use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::machine::Machine;
use crate::types::{Member, StoredMembership, Types};

/// What a member knows of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// The leader, if there is one that a quorum follows.
    pub leader: Option<u64>,
    /// Whether it is this member.
    pub is_own: bool,
}

/// Translates the library's metrics into `sender` until the library stops; then nobody leads.
pub(crate) async fn follow(
    raft: Raft<Types, Machine>,
    sender: watch::Sender<Leadership>,
    membership: watch::Sender<StoredMembership>,
) {
    let mut metrics = raft.server_metrics();
    loop {
        let (now, members, alone) = {
            let metrics = metrics.borrow_and_update();
            let leader = metrics.current_leader;
            let now = Leadership {
                term: metrics.vote.leader_id.term,
                leader,
                is_own: leader == Some(metrics.id) && metrics.state.is_leader(),
            };
            let members = metrics.membership_config.as_ref().clone();
            let alone = now.is_own && members.membership().nodes().count() == 1;
            (now, members, alone)
        };
        // Who leads alone has nobody to tell and nobody to lose: it need not wake up for that.
        raft.runtime_config().tick(!alone);
        membership.send_if_modified(|known| {
            let changed = *known != members;
            *known = members;
            changed
        });
        sender.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        if metrics.changed().await.is_err() {
            let term = sender.borrow().term;
            sender.send_replace(Leadership { term, leader: None, is_own: false });
            return;
        }
    }
}

/// A member's entry in the membership.
pub(crate) fn member(membership: &watch::Receiver<StoredMembership>, id: u64) -> Option<Member> {
    membership.borrow().membership().get_node(&id).cloned()
}
