//! Shrinking: a smaller scenario that breaks the same invariant.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::plan::plan;
use crate::run::{Failure, Scenario, run};
use crate::workload::Part;

/// Tries to take away clients, faults, operations and time while the same invariant is broken, for
/// at most so long; the smallest scenario that was found, and its failure.
pub fn shrink(
    scenario: &Scenario,
    failure: Box<Failure>,
    most: Duration,
) -> (Scenario, Box<Failure>) {
    let deadline = Instant::now() + most;
    let mut best = Best { scenario: scenario.clone(), failure, deadline };
    best.cut_length();
    for part in Part::names().filter_map(Part::from_name) {
        let mut less = best.scenario.clone();
        if less.without.insert(part) {
            best.take(less);
        }
    }
    let length = best.scenario.length;
    let planned = plan(best.scenario.seed, length, &best.scenario.profile);
    let numbers = planned.iter().map(|one| one.number);
    let all = best.scenario.faults.clone().unwrap_or_else(|| numbers.collect());
    best.fewer_faults(&all);
    best.fewer_operations();
    best.cut_length();
    (best.scenario, best.failure)
}

struct Best {
    scenario: Scenario,
    failure: Box<Failure>,
    deadline: Instant,
}

impl Best {
    /// Takes a scenario if it breaks the same invariant.
    fn take(&mut self, less: Scenario) -> bool {
        if Instant::now() >= self.deadline {
            return false;
        }
        match run(&less) {
            Err(failure) if failure.violation.invariant == self.failure.violation.invariant => {
                self.scenario = less;
                self.failure = failure;
                true
            }
            _ => false,
        }
    }

    /// What comes after the failure is not needed, where it is not the recovery that fails.
    fn cut_length(&mut self) {
        let at = self.failure.violation.at + Duration::from_millis(1);
        let length = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        if length < self.scenario.length {
            self.take(Scenario { length, ..self.scenario.clone() });
        }
    }

    /// Takes away halves of the faults, then quarters, and so on to single ones.
    fn fewer_faults(&mut self, all: &BTreeSet<usize>) {
        if !self.take(Scenario { faults: Some(all.clone()), ..self.scenario.clone() }) {
            return;
        }
        let mut size = all.len().div_ceil(2);
        while size > 0 {
            let known: Vec<usize> = self.scenario.faults.iter().flatten().copied().collect();
            for piece in known.chunks(size) {
                let mut faults = self.scenario.faults.clone().unwrap_or_default();
                faults.retain(|number| !piece.contains(number));
                self.take(Scenario { faults: Some(faults), ..self.scenario.clone() });
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    /// Looks for the smallest number of operations, by halves.
    fn fewer_operations(&mut self) {
        let (mut few, mut enough) = (0, self.failure.report.operations);
        while few + 1 < enough && Instant::now() < self.deadline {
            let middle = few.midpoint(enough);
            if self.take(Scenario { operations: Some(middle), ..self.scenario.clone() }) {
                enough = middle.min(self.failure.report.operations);
            } else {
                few = middle;
            }
        }
    }
}
