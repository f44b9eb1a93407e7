//! Linearizability of registers: is there an order of the operations, each between its call and its
//! return, in which every read sees the last write?

use std::collections::BTreeMap;

use thiserror::Error;

use crate::deed::{Deed, Step, Told};
use crate::history::{Action, History, Operation};
use crate::search::{Order, order};

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
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.called);
        let deeds: Vec<Deed> = operations.iter().map(|one| Deed::from(*one)).collect();
        if let Order::None { longest, stuck } = order(&deeds, u64::MAX) {
            return Err(Box::new(Violation {
                key: key.to_owned(),
                operations: operations.iter().map(|one| (*one).clone()).collect(),
                longest,
                stuck: operations[stuck].clone(),
            }));
        }
    }
    Ok(())
}

impl From<&Operation> for Deed {
    fn from(operation: &Operation) -> Self {
        let Operation { client, key, action, called, returned } = operation;
        let mut deed = Self {
            client: client.to_string(),
            called: *called,
            returned: *returned,
            label: format!("{action:?} {key}"),
            ..Self::default()
        };
        let mut reads = Vec::new();
        match action {
            Action::Write(value) => deed.then = vec![Step::Write(key.clone(), Some(value.clone()))],
            Action::Delete => deed.then = vec![Step::Write(key.clone(), None)],
            Action::Swap { from, to } => {
                deed.compares = vec![(key.clone(), from.clone())];
                deed.then = vec![Step::Write(key.clone(), to.clone())];
            }
            Action::Read(value) => {
                deed.then = vec![Step::Read(key.clone())];
                reads.push(value.clone());
            }
        }
        deed.told = returned.map(|_| Told { succeeded: true, reads });
        deed
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
