//! Linearizability of registers: is there an order of the operations, each between its call and its
//! return, in which every read sees the last write?
//!
//! The search takes any operation that was called before the first return that is still open,
//! applies it, and goes on; it remembers which sets of operations with which value it has tried.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::history::{Action, History, Operation};

/// A key whose operations have no such order.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the operations on {key:?} are not linearizable; the longest order has {longest} of {} operations, \
     then no place for {stuck}; around it:\n{}", operations.len(), self.around()
)]
pub struct Violation {
    /// The register.
    pub key: String,
    /// Its operations, by call.
    pub operations: Vec<Operation>,
    /// How many of them could be put in order.
    pub longest: usize,
    /// An operation that returned and could not be put in order after the longest.
    pub stuck: Operation,
}

impl Violation {
    /// The operations next to the one that has no place.
    fn around(&self) -> String {
        const OPERATIONS: usize = 12;
        let place = self.operations.iter().position(|one| *one == self.stuck).unwrap_or(0);
        let near = self.operations.iter().skip(place.saturating_sub(OPERATIONS));
        let read = match &self.stuck.action {
            Action::Read(Some(value)) => Some(Action::Write(value.clone())),
            Action::Read(None) | Action::Write(_) | Action::Delete | Action::Swap { .. } => None,
        };
        let source = self.operations.iter().filter(|one| Some(&one.action) == read.as_ref());
        let lines = source.chain(near.take(2 * OPERATIONS));
        lines.map(|one| format!("    {one}\n")).collect()
    }
}

/// Checks each key by itself: registers are linearizable together if each of them is.
pub fn check_registers(history: &History) -> Result<(), Box<Violation>> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        // A read that was never answered says nothing.
        if operation.returned.is_some() || !matches!(operation.action, Action::Read(_)) {
            keys.entry(&operation.key).or_default().push(operation);
        }
    }
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.called);
        check_register(key, &operations)?;
    }
    Ok(())
}

/// A step of the search that may have to be taken back.
struct Step {
    operation: usize,
    value: Option<String>,
    /// What else could have been done in its place, the best last.
    others: Vec<usize>,
}

fn check_register(key: &str, operations: &[&Operation]) -> Result<(), Box<Violation>> {
    let mut done = Set::new(operations.len());
    let mut value: Option<String> = None;
    let mut steps: Vec<Step> = Vec::new();
    let mut tried: BTreeSet<(Set, Option<String>)> = BTreeSet::new();
    let mut longest = (0, 0);
    let mut next: Option<Vec<usize>> = None;
    loop {
        // The first return among what is open: nothing called after it may come before it.
        let Some((deadline, first_to_return)) = first_return(operations, &done) else {
            return Ok(());
        };
        if steps.len() >= longest.0 {
            longest = (steps.len(), first_to_return);
        }
        let mut choices = next
            .take()
            .unwrap_or_else(|| candidates(operations, &done, value.as_deref(), deadline));
        let mut taken = None;
        while let Some(at) = choices.pop() {
            let Some(after) = apply(&operations[at].action, value.as_ref()) else { continue };
            done.put(at);
            if tried.insert((done.clone(), after.clone())) {
                taken = Some((at, after));
                break;
            }
            done.take(at);
        }
        if let Some((operation, after)) = taken {
            let before = std::mem::replace(&mut value, after);
            steps.push(Step { operation, value: before, others: choices });
            continue;
        }
        let Some(step) = steps.pop() else {
            return Err(Box::new(Violation {
                key: key.to_owned(),
                operations: operations.iter().map(|one| (*one).clone()).collect(),
                longest: longest.0,
                stuck: operations[longest.1].clone(),
            }));
        };
        done.take(step.operation);
        value = step.value;
        next = Some(step.others);
    }
}

/// The first return among what is not done, and whose it is.
fn first_return(operations: &[&Operation], done: &Set) -> Option<(u64, usize)> {
    let mut first: Option<(u64, usize)> = None;
    for (at, operation) in operations.iter().enumerate().skip(done.first_out()) {
        // They stand in the order of their calls: whoever is called after a return returns later.
        if first.is_some_and(|(returned, _)| operation.called > returned) {
            break;
        }
        if let Some(returned) = operation.returned
            && !done.has(at)
        {
            first = Some(first.unwrap_or((returned, at)).min((returned, at)));
        }
    }
    first
}

/// What may come next, the best last. A read that sees the value may always come at once, so it is
/// the only choice; of the others, what must be done soonest is best, and what may never have
/// happened is tried only for a read that needs it.
fn candidates(
    operations: &[&Operation],
    done: &Set,
    value: Option<&str>,
    deadline: u64,
) -> Vec<usize> {
    let called_by_then = |at: &usize| operations[*at].called <= deadline;
    let may = || {
        let called = (done.first_out()..operations.len()).take_while(called_by_then);
        called.filter(|at| !done.has(*at))
    };
    let sees = |at: &usize| match &operations[*at].action {
        Action::Read(read) => read.as_deref() == value,
        Action::Write(_) | Action::Delete | Action::Swap { .. } => false,
    };
    if let Some(read) = may().find(sees) {
        return vec![read];
    }
    let needed = |at: &usize| {
        let result = match &operations[*at].action {
            Action::Write(written) => Some(written.as_str()),
            Action::Delete => None,
            Action::Swap { to, .. } => to.as_deref(),
            Action::Read(_) => return false,
        };
        operations[*at].returned.is_some()
            || (done.first_out()..operations.len()).any(|other| {
                !done.has(other)
                    && other != *at
                    && matches!(&operations[other].action,
                        Action::Read(seen) | Action::Swap { from: seen, .. }
                        if seen.as_deref() == result)
            })
    };
    let mut choices: Vec<usize> = may().filter(needed).collect();
    choices.sort_by_key(|at| std::cmp::Reverse(operations[*at].returned.unwrap_or(u64::MAX)));
    choices
}

/// The value afterwards; `None` when the action contradicts the value before.
#[allow(clippy::option_option, reason = "contradiction, or a value that may be absent")]
fn apply(action: &Action, value: Option<&String>) -> Option<Option<String>> {
    match action {
        Action::Write(written) => Some(Some(written.clone())),
        Action::Delete => Some(None),
        Action::Read(read) => (read.as_ref() == value).then(|| read.clone()),
        Action::Swap { from, to } => (from.as_ref() == value).then(|| to.clone()),
    }
}

/// A set of operations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Set(Vec<u64>);

impl Set {
    fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    /// Where the first one stands that is not in the set.
    fn first_out(&self) -> usize {
        let full = self.0.iter().take_while(|word| **word == u64::MAX).count();
        let rest = self.0.get(full).map_or(0, |word| word.trailing_ones() as usize);
        full * 64 + rest
    }

    fn put(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn take(&mut self, at: usize) {
        self.0[at / 64] &= !(1 << (at % 64));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operation(action: Action, called: u64, returned: Option<u64>) -> Operation {
        Operation { client: 0, key: "k".to_owned(), action, called, returned }
    }

    fn write(value: &str, called: u64, returned: u64) -> Operation {
        operation(Action::Write(value.to_owned()), called, Some(returned))
    }

    fn read(value: Option<&str>, called: u64, returned: u64) -> Operation {
        operation(Action::Read(value.map(str::to_owned)), called, Some(returned))
    }

    fn check(operations: Vec<Operation>) -> bool {
        check_registers(&History { operations }).is_ok()
    }

    #[test]
    fn a_read_sees_the_last_write() {
        assert!(check(vec![write("a", 1, 2), read(Some("a"), 3, 4)]));
        assert!(!check(vec![write("a", 1, 2), read(None, 3, 4)]));
        assert!(!check(vec![write("a", 1, 2), write("b", 3, 4), read(Some("a"), 5, 6)]));
    }

    #[test]
    fn what_overlaps_may_go_either_way_but_not_both() {
        let overlap = vec![write("a", 1, 10), write("b", 2, 9)];
        for value in ["a", "b"] {
            let mut history = overlap.clone();
            history.push(read(Some(value), 11, 12));
            assert!(check(history));
        }
        let mut history = overlap;
        history.extend([read(Some("a"), 11, 12), read(Some("b"), 13, 14)]);
        assert!(!check(history));
    }

    #[test]
    fn a_write_without_an_answer_may_happen_later_or_never() {
        let unknown = operation(Action::Write("u".to_owned()), 1, None);
        let before = [unknown.clone(), write("a", 2, 3), read(Some("a"), 4, 5)];
        assert!(check(before.to_vec()));
        let mut later = before.to_vec();
        later.push(read(Some("u"), 6, 7));
        assert!(check(later.clone()));
        later.push(read(Some("a"), 8, 9));
        assert!(!check(later), "it happens once");
    }

    #[test]
    fn a_swap_happens_only_where_what_it_expects_is() {
        let swap = |from: Option<&str>, to: Option<&str>| Action::Swap {
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        };
        let create = operation(swap(None, Some("a")), 1, Some(2));
        let update = operation(swap(Some("a"), Some("b")), 3, Some(4));
        let again = operation(swap(Some("a"), Some("c")), 5, Some(6));
        assert!(check(vec![create.clone(), update.clone(), read(Some("b"), 5, 6)]));
        assert!(!check(vec![create.clone(), update.clone(), again.clone()]));
        assert!(!check(vec![write("x", 0, 0), create.clone()]));
        // One that was never answered explains a later one, and happens once.
        let unknown = operation(swap(Some("b"), Some("a")), 5, None);
        let late = Operation { called: 7, returned: Some(8), ..again };
        assert!(check(vec![create.clone(), update.clone(), unknown.clone(), late.clone()]));
        let later = Operation { called: 9, returned: Some(10), ..update.clone() };
        assert!(!check(vec![create, update, unknown, late, later]));
    }

    #[test]
    fn a_stale_read_is_found_among_many_operations() {
        let mut history: Vec<Operation> = Vec::new();
        for number in 0..200 {
            history.push(write(&number.to_string(), number * 10, number * 10 + 15));
        }
        history.push(read(Some("199"), 3000, 3001));
        assert!(check(history.clone()));
        history.push(read(Some("3"), 3002, 3003));
        assert!(!check(history));
    }

    proptest! {
        /// A history made by really doing the operations at one moment each is linearizable.
        #[test]
        fn a_history_that_happened_is_linearizable(
            steps in prop::collection::vec((0u8..4, 0u64..30, 0u64..30), 1..40)
        ) {
            let mut value = None;
            let mut operations = Vec::new();
            for (number, (kind, early, late)) in steps.into_iter().enumerate() {
                let moment = 100 + number as u64 * 10;
                let action = match kind {
                    0 => Action::Write(number.to_string()),
                    1 => Action::Delete,
                    2 => Action::Swap { from: value.clone(), to: Some(number.to_string()) },
                    _ => Action::Read(value.clone()),
                };
                match &action {
                    Action::Write(written) => value = Some(written.clone()),
                    Action::Delete => value = None,
                    Action::Swap { to, .. } => value.clone_from(to),
                    Action::Read(_) => {}
                }
                operations.push(operation(action, moment - early, Some(moment + late)));
            }
            prop_assert!(check(operations));
        }
    }
}
