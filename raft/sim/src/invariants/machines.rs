//! State machines are equal at equal index: to the model, and so to each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelson_storage::command::ApplyResult;
use keelson_storage::entry::LogEntry;

use super::Verdict;
use crate::model::Model;
use crate::outcome::Outcome;

/// What a member says of its state.
pub(crate) struct State {
    pub(crate) index: u64,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) membership: Option<Bytes>,
}

/// Hashes of whole histories, as the first member that was asked told them.
#[derive(Default)]
pub(crate) struct Machines {
    hashes: BTreeMap<(i64, i64), u32>,
}

impl Machines {
    /// A member applied what the model has applied.
    pub(crate) fn applied(
        &self,
        model: &Model,
        member: u64,
        entry: &LogEntry,
        result: &ApplyResult,
    ) -> Verdict {
        let index = entry.index;
        let Some(step) = model.step(index) else {
            return Err(format!("member {member} applied entry {index} before those before it"));
        };
        if step.term != entry.term {
            let (now, before) = (entry.term, step.term);
            return Err(format!(
                "member {member} applied entry {index} of term {now}; another applied one of term {before}"
            ));
        }
        let outcome = Outcome::of(result);
        if outcome != step.outcome {
            let wanted = &step.outcome;
            return Err(format!(
                "member {member} applied entry {index} and got {outcome:?}, not {wanted:?}"
            ));
        }
        Ok(())
    }

    /// A member's state as a whole.
    pub(crate) fn stands(&self, model: &Model, member: u64, state: &State) -> Verdict {
        let index = state.index;
        if index == 0 {
            return Ok(());
        }
        let Some(step) = model.step(index) else {
            return Err(format!(
                "member {member} holds the state after entry {index}, which nobody applied"
            ));
        };
        let (found, wanted) = ((state.revision, state.compacted), (step.revision, step.compacted));
        if found != wanted {
            return Err(format!(
                "member {member} after entry {index} is at revision {}, compacted at {}; it must be at \
                 revision {}, compacted at {}",
                found.0, found.1, wanted.0, wanted.1
            ));
        }
        let membership = step.membership.checked_sub(1).map(|last| &model.memberships[last]);
        if state.membership.as_ref() != membership {
            return Err(format!(
                "member {member} after entry {index} does not know the last membership"
            ));
        }
        Ok(())
    }

    /// A member's history up to a revision has this hash.
    pub(crate) fn hashed(
        &mut self,
        member: u64,
        revision: i64,
        compacted: i64,
        hash: u32,
    ) -> Verdict {
        let known = *self.hashes.entry((revision, compacted)).or_insert(hash);
        if known == hash {
            return Ok(());
        }
        Err(format!(
            "member {member}'s history up to revision {revision} has the hash {hash:08x}, another's {known:08x}"
        ))
    }
}
