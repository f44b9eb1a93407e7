//! One leader a term, and one vote a term from each member, whatever it forgot in a crash.

use std::collections::BTreeMap;

use keelson_storage::wal::Vote;

use super::Verdict;

/// Who leads and whom members vote for, by term.
#[derive(Default)]
pub(crate) struct Elections {
    leaders: BTreeMap<u64, u64>,
    votes: BTreeMap<(u64, u64), u64>,
}

impl Elections {
    /// Somebody knows that this member leads in this term.
    pub(crate) fn leads(&mut self, term: u64, member: u64) -> Verdict {
        let leader = *self.leaders.entry(term).or_insert(member);
        if leader == member {
            return Ok(());
        }
        Err(format!("two leaders in term {term}: members {leader} and {member}"))
    }

    /// A member votes, or knows by a vote who leads.
    pub(crate) fn voted(&mut self, member: u64, vote: Vote) -> Verdict {
        if vote.committed {
            return self.leads(vote.term, vote.node);
        }
        let before = *self.votes.entry((member, vote.term)).or_insert(vote.node);
        if before == vote.node {
            return Ok(());
        }
        let (term, now) = (vote.term, vote.node);
        Err(format!("member {member} votes for {now} in term {term}, and has voted for {before}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_term_and_two_votes_in_one_are_found() {
        let vote = |term, node, committed| Vote { term, node, committed };
        let mut elections = Elections::default();
        elections.voted(1, vote(1, 1, false)).unwrap();
        elections.voted(2, vote(1, 1, false)).unwrap();
        elections.voted(2, vote(1, 1, true)).unwrap();
        elections.voted(3, vote(1, 3, false)).unwrap();
        elections.voted(3, vote(1, 1, true)).unwrap();
        elections.leads(2, 3).unwrap();
        assert!(elections.voted(2, vote(1, 3, false)).is_err());
        assert!(elections.voted(3, vote(2, 1, true)).is_err());
    }
}
