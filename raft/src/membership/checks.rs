//! What is asked of a change before it is made.
//!
//! upstream: etcd v3.7 `server/etcdserver`, strict reconfiguration checks

use std::collections::BTreeSet;

use super::{MemberChange, MemberError, MemberLimits, Members};

/// The cluster as its leader sees it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) members: Members,
    /// Ids that were members once.
    pub(super) removed: BTreeSet<u64>,
    /// Who has ever told its name.
    pub(super) started: BTreeSet<u64>,
    /// Who answers, the leader included.
    pub(super) heard: BTreeSet<u64>,
    /// Who has answered for a while.
    pub(super) healthy: BTreeSet<u64>,
    /// How far a member's log agrees with the leader's, in hundredths of the latter.
    pub(super) percent: std::collections::BTreeMap<u64, u64>,
}

/// A learner is ready when it has this much of the leader's log.
const READY_PERCENT: u64 = 90;

impl Standing {
    /// Voters and those who will be.
    fn voters(&self) -> impl Iterator<Item = u64> {
        self.members.iter().filter(|(_, member)| !member.learner).map(|(id, _)| *id)
    }

    fn started_voters(&self) -> usize {
        self.voters().filter(|id| self.started.contains(id)).count()
    }

    fn healthy_voters(&self) -> usize {
        self.voters().filter(|id| self.healthy.contains(id)).count()
    }

    /// Whether a change may be made; `Ok(false)`: it has been made already.
    pub(super) fn check(
        &self,
        change: &MemberChange,
        limits: MemberLimits,
    ) -> Result<bool, MemberError> {
        match change {
            MemberChange::Add { id, member } => {
                if self.members.get(id).is_some_and(|known| known.peer_urls == member.peer_urls) {
                    return Ok(false);
                }
                if limits.strict {
                    self.may_add(member.learner)?;
                }
                if self.members.contains_key(id) || self.removed.contains(id) {
                    return Err(MemberError::IdExists);
                }
                self.free(&member.peer_urls, None)?;
                let learners = self.members.values().filter(|known| known.learner).count();
                if member.learner && learners >= limits.learners_max as usize {
                    return Err(MemberError::TooManyLearners);
                }
            }
            MemberChange::Remove(id) => {
                if limits.strict {
                    self.may_remove(*id)?;
                }
                if !self.members.contains_key(id) {
                    return Err(MemberError::NotFound);
                }
            }
            MemberChange::Update { id, peer_urls } => {
                let known = self.members.get(id).ok_or(MemberError::NotFound)?;
                self.free(peer_urls, Some(*id))?;
                return Ok(known.peer_urls != *peer_urls);
            }
            MemberChange::Promote(id) => {
                let known = self.members.get(id).ok_or(MemberError::NotFound)?;
                if !known.learner {
                    return Err(MemberError::NotLearner);
                }
                if self.percent.get(id).is_none_or(|percent| *percent < READY_PERCENT) {
                    return Err(MemberError::LearnerNotReady);
                }
                let after = self.voters().count() + 1;
                if limits.strict && self.started_voters() + 1 < quorum(after) {
                    return Err(MemberError::NotEnoughStarted);
                }
            }
        }
        Ok(true)
    }

    /// Whether enough would have started and answer once there is one more.
    fn may_add(&self, learner: bool) -> Result<(), MemberError> {
        let before = self.voters().count();
        let started = self.started_voters();
        let second = before == 1 && started == 1;
        if !learner && !second && started < quorum(before + 1) {
            return Err(MemberError::NotEnoughStarted);
        }
        // A learner will vote one day.
        if !second && self.healthy_voters() < quorum(before + 1) {
            return Err(MemberError::Unhealthy);
        }
        Ok(())
    }

    /// Whether enough remain once there is one less. Who does not answer may always go.
    fn may_remove(&self, id: u64) -> Result<(), MemberError> {
        if self.members.get(&id).is_some_and(|known| known.learner) {
            return Ok(());
        }
        let others: Vec<u64> = self.voters().filter(|other| *other != id).collect();
        let started = others.iter().filter(|other| self.started.contains(other)).count();
        if started < quorum(others.len()) {
            return Err(MemberError::NotEnoughStarted);
        }
        if !self.heard.contains(&id) {
            return Ok(());
        }
        let voters = self.voters().count();
        if self.healthy_voters() <= quorum(voters - 1) {
            return Err(MemberError::Unhealthy);
        }
        Ok(())
    }

    /// Whether nobody else is reached at these URLs.
    fn free(&self, urls: &[String], but: Option<u64>) -> Result<(), MemberError> {
        let others = self.members.iter().filter(|(id, _)| Some(**id) != but);
        let mut taken = others.flat_map(|(_, member)| &member.peer_urls);
        match taken.any(|url| urls.contains(url)) {
            true => Err(MemberError::PeerUrlExists),
            false => Ok(()),
        }
    }
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Member;

    const STRICT: MemberLimits = MemberLimits { strict: true, learners_max: 1 };
    const LOOSE: MemberLimits = MemberLimits { strict: false, learners_max: 1 };

    fn member(id: u64, learner: bool) -> Member {
        Member { peer_urls: vec![format!("http://{id}")], learner, ..Default::default() }
    }

    /// Voters 1..=count, those of `down` not reached, those of `new` not started.
    fn standing(count: u64, down: &[u64], new: &[u64]) -> Standing {
        let ids = 1..=count;
        Standing {
            members: ids.clone().map(|id| (id, member(id, false))).collect(),
            removed: BTreeSet::from([99]),
            started: ids.clone().filter(|id| !new.contains(id)).collect(),
            heard: ids.clone().filter(|id| !down.contains(id) && !new.contains(id)).collect(),
            healthy: ids.filter(|id| !down.contains(id) && !new.contains(id)).collect(),
            percent: [(8, 95), (9, 10)].into(),
        }
    }

    fn add(id: u64, learner: bool) -> MemberChange {
        MemberChange::Add { id, member: member(id, learner) }
    }

    #[test]
    fn members_are_added_while_most_run() {
        assert_eq!(standing(1, &[], &[]).check(&add(2, false), STRICT), Ok(true));
        // The second has not started: not even one more.
        let two = standing(2, &[], &[2]);
        assert_eq!(two.check(&add(3, false), STRICT), Err(MemberError::NotEnoughStarted));
        assert_eq!(two.check(&add(3, false), LOOSE), Ok(true));
        let three = standing(3, &[2, 3], &[]);
        assert_eq!(three.check(&add(4, false), STRICT), Err(MemberError::Unhealthy));
        assert_eq!(three.check(&add(4, true), STRICT), Err(MemberError::Unhealthy));
        // upstream: etcd v3.7 e2e, members down out of members
        for (voters, down, may) in [(1, 0, true), (3, 1, false), (4, 1, true), (5, 2, false)] {
            let down: Vec<u64> = (2..2 + down).collect();
            let checked = standing(voters, &down, &[]).check(&add(9, true), STRICT);
            assert_eq!(checked.is_ok(), may, "{down:?} of {voters}");
        }
    }

    #[test]
    fn ids_urls_and_learners_are_counted() {
        let mut three = standing(3, &[], &[]);
        assert_eq!(three.check(&add(99, false), STRICT), Err(MemberError::IdExists));
        assert_eq!(three.check(&add(3, false), STRICT), Ok(false), "the same once more");
        let taken = MemberChange::Add { id: 5, member: member(3, false) };
        assert_eq!(three.check(&taken, STRICT), Err(MemberError::PeerUrlExists));
        three.members.insert(8, member(8, true));
        assert_eq!(three.check(&add(9, true), STRICT), Err(MemberError::TooManyLearners));
        assert_eq!(three.check(&add(9, false), STRICT), Ok(true));
    }

    #[test]
    fn members_are_removed_while_a_majority_remains() {
        let remove = MemberChange::Remove;
        let check = |standing: &Standing, id| standing.check(&remove(id), STRICT);
        assert_eq!(check(&standing(1, &[], &[]), 1), Err(MemberError::NotEnoughStarted));
        assert_eq!(check(&standing(3, &[], &[]), 1), Ok(true));
        // Of three with one down only that one may go.
        let three = standing(3, &[3], &[]);
        assert_eq!(check(&three, 2), Err(MemberError::Unhealthy));
        assert_eq!(check(&three, 3), Ok(true));
        assert_eq!(three.check(&remove(2), LOOSE), Ok(true));
        assert_eq!(check(&three, 77), Err(MemberError::NotFound));
        // One that has just come is no dead one.
        let mut young = standing(3, &[], &[]);
        young.healthy = BTreeSet::from([1]);
        assert_eq!(check(&young, 3), Err(MemberError::Unhealthy));
        let mut with_learner = standing(3, &[3], &[]);
        with_learner.members.insert(8, member(8, true));
        assert_eq!(check(&with_learner, 8), Ok(true));
    }

    #[test]
    fn urls_change_and_learners_are_promoted() {
        let mut three = standing(3, &[], &[]);
        let update = |id, url: &str| MemberChange::Update { id, peer_urls: vec![url.to_owned()] };
        assert_eq!(three.check(&update(3, "http://new"), STRICT), Ok(true));
        assert_eq!(three.check(&update(3, "http://3"), STRICT), Ok(false));
        assert_eq!(three.check(&update(3, "http://2"), STRICT), Err(MemberError::PeerUrlExists));
        assert_eq!(three.check(&update(7, "http://new"), STRICT), Err(MemberError::NotFound));
        let promote = MemberChange::Promote;
        assert_eq!(three.check(&promote(3), STRICT), Err(MemberError::NotLearner));
        assert_eq!(three.check(&promote(8), STRICT), Err(MemberError::NotFound));
        three.members.insert(8, member(8, true));
        three.members.insert(9, member(9, true));
        assert_eq!(three.check(&promote(8), STRICT), Ok(true));
        assert_eq!(three.check(&promote(9), STRICT), Err(MemberError::LearnerNotReady));
        let mut one = standing(2, &[], &[2]);
        one.members.insert(8, member(8, true));
        assert_eq!(one.check(&promote(8), STRICT), Ok(true));
        let mut three = standing(4, &[], &[2, 3, 4]);
        three.members.insert(8, member(8, true));
        assert_eq!(three.check(&promote(8), STRICT), Err(MemberError::NotEnoughStarted));
    }
}
