//! The verdict on a recorded history: everything that can be checked in it, and what is wrong.

use std::collections::BTreeMap;

use crate::deed::Deed;
use crate::deeds_of::{deed, groups, label};
use crate::format::{Line, Op};
use crate::holders::check_holders;
use crate::read::Recorded;
use crate::search::{Order, order};
use crate::shrink::smallest;
use crate::streams::check_streams;

/// Findings of one kind that are told; more say nothing new.
const FINDINGS_MAX: usize = 20;

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Steps of the search for the order of one group of registers.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 20_000_000 }
    }
}

/// Which promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Operations happen at one moment each, between call and return.
    Linearizable,
    /// Watches are ordered, unique, reliable, atomic, resumable; revisions go up.
    Watch,
    /// Leases do not end early; locks and elections have one holder, and tokens grow.
    Holder,
    /// Members run, come back, and hold the same in the end.
    Members,
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Linearizable => "linearizability",
            Self::Watch => "watch and revisions",
            Self::Holder => "leases and locks",
            Self::Members => "members",
        })
    }
}

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which.
    pub promise: Promise,
    /// What is wrong, in a sentence.
    pub text: String,
    /// When it was seen.
    pub at: u64,
    /// The smallest part of the history that shows it, by call.
    pub part: Vec<Deed>,
}

/// What came of a check.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What was checked, and how much of it.
    pub counts: BTreeMap<&'static str, usize>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What could not be decided within the limits.
    pub undecided: Vec<String>,
}

/// Checks a history.
pub fn check(recorded: &Recorded, limits: Limits) -> Verdict {
    let mut verdict = Verdict::default();
    check_order(&recorded.lines, limits, &mut verdict);
    let (counts, flaws) = check_streams(&recorded.lines);
    verdict.counts.extend(counts);
    for flaw in flaws.into_iter().take(FINDINGS_MAX) {
        let part: Vec<Deed> = flaw.ops.iter().map(drawn).collect();
        let at = flaw.at.unwrap_or_default();
        verdict.findings.push(Finding { promise: Promise::Watch, text: flaw.text, at, part });
    }
    let (counts, flaws) = check_holders(&recorded.lines);
    verdict.counts.extend(counts);
    for flaw in flaws.into_iter().take(FINDINGS_MAX) {
        let part: Vec<Deed> = flaw.ops.iter().map(drawn).collect();
        let at = flaw.ops.last().map_or(0, |op| op.returned);
        verdict.findings.push(Finding { promise: Promise::Holder, text: flaw.text, at, part });
    }
    verdict.counts.retain(|_, count| *count > 0);
    verdict
}

fn check_order(lines: &[Line], limits: Limits, verdict: &mut Verdict) {
    let groups = groups(lines);
    let operations = groups.iter().map(|group| group.deeds.len()).sum();
    verdict.counts.insert("operations on registers", operations);
    verdict.counts.insert("registers", groups.iter().map(|group| group.keys.len()).sum());
    for group in groups {
        let name = match group.keys.as_slice() {
            [key] => key.clone(),
            [first, .., last] => format!("{first} to {last}, together"),
            [] => continue,
        };
        match order(&group.deeds, limits.steps) {
            Order::Found => {}
            Order::GaveUp => verdict.undecided.push(format!(
                "no order of the {} operations on {name} was found in {} steps, nor that there is none",
                group.deeds.len(),
                limits.steps
            )),
            Order::None { longest, stuck } => {
                let deeds = group.deeds.len();
                let text = format!(
                    "the operations on {name} are not linearizable: {longest} of {deeds} can be put \
                     in order, and then there is no place for \"{}\" of client {}",
                    group.deeds[stuck].label, group.deeds[stuck].client
                );
                let part = smallest(&group.deeds, stuck);
                let at = part.iter().filter_map(|deed| deed.returned).max().unwrap_or(0);
                let promise = Promise::Linearizable;
                if verdict.findings.len() < FINDINGS_MAX {
                    verdict.findings.push(Finding { promise, text, at, part });
                }
            }
        }
    }
}

/// An operation as it is drawn.
fn drawn(op: &Op) -> Deed {
    deed(op).unwrap_or_else(|| Deed {
        client: op.client.clone(),
        called: op.call,
        returned: Some(op.returned),
        label: label(op),
        ..Deed::default()
    })
}
