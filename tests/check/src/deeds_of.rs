//! What a recorded history has for the search of an order: its deeds, those together that share
//! registers.

use std::collections::{BTreeMap, BTreeSet};

use crate::deed::{Deed, Step, Told};
use crate::format::{Line, Op, Outcome, Request, TxnStep};

/// Deeds that have their registers to themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// The registers.
    pub keys: Vec<String>,
    /// By call.
    pub deeds: Vec<Deed>,
}

/// All groups of a history. A key that ends with a lease changes by itself, and is in none.
pub fn groups(lines: &[Line]) -> Vec<Group> {
    let ops =
        || lines.iter().filter_map(|line| if let Line::Op(op) = line { Some(op) } else { None });
    let leased: BTreeSet<&str> = ops()
        .filter_map(|op| match &op.request {
            Request::Write { key, lease: Some(_), .. } => Some(key.as_str()),
            _ => None,
        })
        .collect();
    let deeds = ops().filter_map(deed);
    let mut deeds: Vec<Deed> =
        deeds.filter(|deed| !deed.keys().any(|key| leased.contains(key))).collect();
    deeds.sort_by_key(|deed| deed.called);
    let mut parts = Parts::default();
    for deed in &deeds {
        let mut keys = deed.keys();
        if let Some(first) = keys.next() {
            let first = parts.of(first);
            for other in keys {
                let other = parts.of(other);
                parts.join(first, other);
            }
        }
    }
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    for deed in deeds {
        let Some(part) = deed.keys().next().map(|key| parts.of(key)) else { continue };
        groups.entry(parts.root(part)).or_default().deeds.push(deed);
    }
    for (key, part) in parts.names.clone() {
        if let Some(group) = groups.get_mut(&parts.root(part)) {
            group.keys.push(key);
        }
    }
    groups.into_values().collect()
}

/// Which keys belong together.
#[derive(Default)]
struct Parts {
    names: BTreeMap<String, usize>,
    above: Vec<usize>,
}

impl Parts {
    fn of(&mut self, key: &str) -> usize {
        if let Some(part) = self.names.get(key) {
            return *part;
        }
        self.above.push(self.above.len());
        self.names.insert(key.to_owned(), self.above.len() - 1);
        self.above.len() - 1
    }

    fn root(&mut self, mut part: usize) -> usize {
        while self.above[part] != part {
            self.above[part] = self.above[self.above[part]];
            part = self.above[part];
        }
        part
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.above[one.max(other)] = one.min(other);
    }
}

/// An operation on registers; `None`: it is none, or did not happen.
pub(crate) fn deed(op: &Op) -> Option<Deed> {
    if op.outcome == Outcome::Fail {
        return None;
    }
    let mut deed = Deed {
        client: op.client.clone(),
        called: op.call,
        returned: (op.outcome == Outcome::Ok).then_some(op.returned),
        label: label(op),
        ..Deed::default()
    };
    let mut told = Told { succeeded: op.response.succeeded.unwrap_or(true), reads: Vec::new() };
    match &op.request {
        Request::Read { serializable: true, .. } => return None,
        Request::Read { key, serializable: false } => {
            deed.then = vec![Step::Read(key.clone())];
            told.reads.extend(op.response.value.clone());
        }
        Request::Write { key, value, .. } => {
            deed.then = vec![Step::Write(key.clone(), Some(value.clone()))];
        }
        Request::Delete { key } => {
            // Whether there was something to delete is not asked here.
            told.succeeded = true;
            deed.then = vec![Step::Write(key.clone(), None)];
        }
        Request::Swap { key, from, to } => {
            deed.compares = vec![(key.clone(), from.clone())];
            deed.then = vec![Step::Write(key.clone(), to.clone())];
            if let Some(value) = &op.response.value {
                deed.otherwise = vec![Step::Read(key.clone())];
                if !told.succeeded {
                    told.reads.push(value.clone());
                }
            }
        }
        Request::Append { key, value } => {
            deed.then = vec![Step::Append(key.clone(), value.clone())];
        }
        Request::Txn { compares, then, otherwise } => {
            deed.compares =
                compares.iter().map(|one| (one.key.clone(), one.value.clone())).collect();
            deed.then = then.iter().map(step).collect();
            deed.otherwise = otherwise.iter().map(step).collect();
            told.reads.extend(op.response.values.clone().unwrap_or_default());
        }
        Request::Lock { .. }
        | Request::Unlock { .. }
        | Request::Grant { .. }
        | Request::KeepAlive { .. }
        | Request::Revoke { .. }
        | Request::Compact { .. } => return None,
    }
    deed.told = (op.outcome == Outcome::Ok).then_some(told);
    Some(deed)
}

fn step(step: &TxnStep) -> Step {
    match step {
        TxnStep::Read { key } => Step::Read(key.clone()),
        TxnStep::Write { key, value } => Step::Write(key.clone(), value.clone()),
        TxnStep::Append { key, value } => Step::Append(key.clone(), value.clone()),
    }
}

/// An operation and what came of it, in a few words.
pub fn label(op: &Op) -> String {
    let or_nothing = |value: &Option<String>| value.as_deref().unwrap_or("nothing").to_owned();
    let asked = match &op.request {
        Request::Read { key, serializable } => {
            format!("{}read {key}", if *serializable { "local " } else { "" })
        }
        Request::Write { key, value, .. } => format!("{key} = {value}"),
        Request::Delete { key } => format!("delete {key}"),
        Request::Swap { key, from, to } => {
            format!("{key}: {} to {}", or_nothing(from), or_nothing(to))
        }
        Request::Append { key, value } => format!("append {value} to {key}"),
        Request::Txn { compares, then, otherwise } => {
            let compares =
                compares.iter().map(|one| format!("{} is {}", one.key, or_nothing(&one.value)));
            let steps = |steps: &[TxnStep]| -> String {
                let step = |step: &TxnStep| match step {
                    TxnStep::Read { key } => format!("read {key}"),
                    TxnStep::Write { key, value } => format!("{key} = {}", or_nothing(value)),
                    TxnStep::Append { key, value } => format!("append {value} to {key}"),
                };
                steps.iter().map(step).collect::<Vec<_>>().join(", ")
            };
            let compares: Vec<String> = compares.collect();
            match (compares.is_empty(), otherwise.is_empty()) {
                (true, _) => steps(then),
                (_, true) => format!("if {}: {}", compares.join(", "), steps(then)),
                _ => {
                    format!("if {}: {} else {}", compares.join(", "), steps(then), steps(otherwise))
                }
            }
        }
        Request::Lock { name, lease } => format!("lock {name} by {lease:x}"),
        Request::Unlock { name, token } => format!("unlock {name} #{token}"),
        Request::Grant { ttl } => format!("lease of {ttl} s"),
        Request::KeepAlive { lease } => format!("renew {lease:x}"),
        Request::Revoke { lease } => format!("revoke {lease:x}"),
        Request::Compact { revision } => format!("compact {revision}"),
    };
    let told = &op.response;
    let answer = match op.outcome {
        Outcome::Fail => "failed".to_owned(),
        Outcome::Unknown => "?".to_owned(),
        Outcome::Ok => match (&told.value, told.succeeded, &told.values) {
            (Some(value), None, _) => or_nothing(value),
            (Some(value), Some(false), _) => format!("no, {}", or_nothing(value)),
            (_, Some(succeeded), values) => {
                let mut answer = if succeeded { "done" } else { "no" }.to_owned();
                for value in values.iter().flatten() {
                    answer.push_str(&format!(", {}", or_nothing(value)));
                }
                answer
            }
            _ => match (told.token, told.ttl, told.lease) {
                (Some(token), ..) => format!("#{token}"),
                (_, Some(0), _) => "gone".to_owned(),
                (_, Some(ttl), Some(lease)) => format!("{lease:x} for {ttl} s"),
                (_, Some(ttl), None) => format!("{ttl} s"),
                _ => "done".to_owned(),
            },
        },
    };
    format!("{asked} → {answer}")
}
