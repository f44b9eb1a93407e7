//! Linearizable: every answer is the model's, at a place of the log between question and answer.
//! A request without an answer happened once or not at all.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::model::Model;
use crate::outcome::{Found, Outcome};

/// A question, as of when it was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) tag: u64,
    /// The last entry whose answer anybody had then.
    index: u64,
    /// The newest revision that anybody had been told.
    revision: i64,
}

/// Requests and their places in the log.
#[derive(Default)]
pub(crate) struct Linearizable {
    next: u64,
    happened: BTreeMap<u64, u64>,
    refused: BTreeSet<u64>,
    index: u64,
    revision: i64,
}

impl Linearizable {
    /// Somebody asks for something.
    pub(crate) fn ask(&mut self) -> Asked {
        self.next += 1;
        Asked { tag: self.next, index: self.index, revision: self.revision }
    }

    /// A tagged command is applied for the first time.
    pub(crate) fn happened(&mut self, tag: u64, index: u64) -> Verdict {
        if self.refused.contains(&tag) {
            return Err(format!("request {tag} was refused, and is entry {index}"));
        }
        match self.happened.insert(tag, index) {
            None => Ok(()),
            Some(before) => Err(format!("request {tag} is entry {before}, and entry {index} too")),
        }
    }

    /// It was answered.
    pub(crate) fn answered(&mut self, model: &Model, asked: Asked, outcome: &Outcome) -> Verdict {
        let tag = asked.tag;
        let Some(&index) = self.happened.get(&tag) else {
            return Err(format!("request {tag} was answered {outcome:?}, and is in nobody's log"));
        };
        if index <= asked.index {
            let before = asked.index;
            return Err(format!(
                "request {tag} was made after entry {before} was answered, and is entry {index}"
            ));
        }
        let wanted = model.step(index).map(|step| &step.outcome);
        if wanted != Some(outcome) {
            return Err(format!(
                "request {tag}, entry {index}, was answered {outcome:?}, not {wanted:?}"
            ));
        }
        self.index = self.index.max(index);
        self.revision = self.revision.max(outcome.revision().unwrap_or(0));
        Ok(())
    }

    /// It was answered that nothing happened.
    pub(crate) fn refused(&mut self, asked: Asked) -> Verdict {
        let tag = asked.tag;
        self.refused.insert(tag);
        match self.happened.get(&tag) {
            None => Ok(()),
            Some(index) => Err(format!("request {tag} was refused, and is entry {index}")),
        }
    }

    /// Keys were read, at a revision; linearizably, or as some member had them.
    pub(crate) fn read(
        &mut self,
        model: &Model,
        asked: Asked,
        range: (&[u8], &[u8]),
        linearizable: bool,
        at: i64,
        found: &[Found],
    ) -> Verdict {
        let tag = asked.tag;
        if at > model.revision() {
            return Err(format!("request {tag} read at revision {at}, which is not reached"));
        }
        if linearizable && at < asked.revision {
            let told = asked.revision;
            return Err(format!(
                "request {tag} read at revision {at} after revision {told} had been told"
            ));
        }
        let wanted = model.range(range.0, range.1, at);
        if wanted != found {
            return Err(format!(
                "request {tag} read {found:?} at revision {at}, where there is {wanted:?}"
            ));
        }
        if linearizable {
            self.revision = self.revision.max(at);
        }
        Ok(())
    }
}
