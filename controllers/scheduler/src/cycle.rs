//! One decision: filter nodes until enough are feasible, score those, take the best.
//!
//! Buffers are kept from decision to decision, so that one does not allocate.

use crate::cache::{Cache, Slot};
use crate::diagnosis::Diagnosis;
use crate::plugins::{self, Normalize, PLUGINS, SCORE_MAX, Score};
use crate::pod::PodView;

/// Below so many nodes, all are looked at.
const FEASIBLE_MIN: usize = 100;
/// The smallest share of nodes that an adaptive percentage comes to.
const ADAPTIVE_PERCENT_MIN: usize = 5;

/// How a decision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The pod goes there.
    Node(Slot),
    /// There is no node at all.
    NoNodes,
    /// No node fits; the diagnosis says why.
    Unfit,
}

/// Decides, one pod after the other.
#[derive(Default)]
pub(crate) struct Cycle {
    percentage: usize,
    /// Where the next search starts, so that all nodes get their turn.
    start: usize,
    feasible: Vec<Slot>,
    totals: Vec<i64>,
    raw: Vec<i64>,
    /// Why the last pod fit nowhere.
    pub(crate) diagnosis: Diagnosis,
}

impl Cycle {
    /// Decisions that look for this percentage of nodes; 0 adapts it.
    pub(crate) fn new(percentage_of_nodes_to_score: u32) -> Self {
        Self { percentage: percentage_of_nodes_to_score as usize, ..Self::default() }
    }

    /// Finds a node for the pod; `random(n)` breaks ties with a number below `n`.
    pub(crate) fn decide(
        &mut self,
        pod: &PodView,
        cache: &Cache,
        random: &mut dyn FnMut(usize) -> usize,
    ) -> Outcome {
        if cache.live().is_empty() {
            return Outcome::NoNodes;
        }
        self.find_feasible(pod, cache);
        match self.feasible.as_slice() {
            [] => Outcome::Unfit,
            [only] => Outcome::Node(*only),
            _ => {
                self.score(pod, cache);
                Outcome::Node(self.best(random))
            }
        }
    }

    fn find_feasible(&mut self, pod: &PodView, cache: &Cache) {
        self.feasible.clear();
        self.diagnosis.clear();
        let live = cache.live();
        let wanted = self.feasible_wanted(live.len());
        let start = self.start % live.len();
        let mut looked_at = 0;
        for slot in live[start..].iter().chain(&live[..start]) {
            looked_at += 1;
            match plugins::filter(pod, cache.node(*slot)) {
                None => self.feasible.push(*slot),
                Some((plugin, reason)) => self.diagnosis.count(plugin, reason),
            }
            if self.feasible.len() == wanted {
                break;
            }
        }
        self.start = (start + looked_at) % live.len();
    }

    /// upstream: numFeasibleNodesToFind
    fn feasible_wanted(&self, nodes: usize) -> usize {
        if nodes < FEASIBLE_MIN {
            return nodes;
        }
        let percent = match self.percentage {
            0 => 50_usize.saturating_sub(nodes / 125).max(ADAPTIVE_PERCENT_MIN),
            percent => percent,
        };
        (nodes * percent / 100).max(FEASIBLE_MIN)
    }

    fn score(&mut self, pod: &PodView, cache: &Cache) {
        self.totals.clear();
        self.totals.resize(self.feasible.len(), 0);
        for score in PLUGINS.iter().filter_map(|plugin| plugin.score.as_ref()) {
            if !(score.applies)(pod) {
                continue;
            }
            self.raw.clear();
            self.raw.extend(self.feasible.iter().map(|slot| (score.score)(pod, cache.node(*slot))));
            normalize(score, &mut self.raw);
            for (total, raw) in self.totals.iter_mut().zip(&self.raw) {
                *total += raw * score.weight;
            }
        }
    }

    fn best(&self, random: &mut dyn FnMut(usize) -> usize) -> Slot {
        let (mut best, mut ties) = (0, 1);
        for at in 1..self.totals.len() {
            if self.totals[at] > self.totals[best] {
                (best, ties) = (at, 1);
            } else if self.totals[at] == self.totals[best] {
                ties += 1;
                if random(ties) == 0 {
                    best = at;
                }
            }
        }
        self.feasible[best]
    }
}

fn normalize(score: &Score, raw: &mut [i64]) {
    let highest = raw.iter().copied().max().unwrap_or(0);
    match (score.normalize, highest) {
        (Normalize::AsIs, _) | (Normalize::ShareOfHighest, 0) => {}
        (Normalize::ShareOfHighest, _) => {
            raw.iter_mut().for_each(|one| *one = *one * SCORE_MAX / highest);
        }
        (Normalize::ShareOfHighestReversed, 0) => raw.fill(SCORE_MAX),
        (Normalize::ShareOfHighestReversed, _) => {
            raw.iter_mut().for_each(|one| *one = SCORE_MAX - *one * SCORE_MAX / highest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::fixtures;

    fn cache(nodes: usize, spec: impl Fn(usize) -> Value) -> Cache {
        let mut cache = Cache::default();
        for at in 0..nodes {
            let node = json!({
                "metadata": {"name": format!("node-{at}")},
                "spec": spec(at),
                "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
            });
            cache.update_node(serde_json::from_value(node).unwrap());
        }
        cache
    }

    fn pod(cpu: &str) -> PodView {
        fixtures::pod(json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]}))
    }

    #[test]
    fn pods_spread_over_equal_nodes() {
        let mut cache = cache(4, |_| json!({}));
        let mut cycle = Cycle::new(0);
        for uid in 0..8 {
            let mut pod = pod("1");
            pod.uid = uid.to_string().into();
            let Outcome::Node(slot) = cycle.decide(&pod, &cache, &mut |_| 1) else {
                panic!("pod {uid} does not fit");
            };
            cache.assume(Arc::new(pod), slot);
        }
        assert!(cache.live().iter().all(|slot| cache.node(*slot).pods == 2));
    }

    #[test]
    fn the_node_with_fewer_unwanted_taints_wins() {
        let taints = json!([{"key": "slow", "effect": "PreferNoSchedule"}]);
        let cache = cache(3, |at| if at == 1 { json!({}) } else { json!({"taints": taints}) });
        let outcome = Cycle::new(0).decide(&pod("1"), &cache, &mut |_| 0);
        assert_eq!(outcome, Outcome::Node(1));
    }

    #[test]
    fn a_large_cluster_is_searched_in_turns() {
        let cache = cache(1000, |_| json!({}));
        let mut cycle = Cycle::new(10);
        cycle.decide(&pod("1"), &cache, &mut |_| 0);
        assert_eq!((cycle.feasible.len(), cycle.start), (100, 100));
        cycle.decide(&pod("1"), &cache, &mut |_| 0);
        assert_eq!(cycle.feasible[0], 100);
        assert_eq!(Cycle::new(0).feasible_wanted(5000), 500);
    }

    #[test]
    fn no_node_and_no_fitting_node_are_told_apart() {
        assert_eq!(
            Cycle::new(0).decide(&pod("1"), &cache(0, |_| json!({})), &mut |_| 0),
            Outcome::NoNodes
        );
        let mut cycle = Cycle::new(0);
        assert_eq!(cycle.decide(&pod("9"), &cache(2, |_| json!({})), &mut |_| 0), Outcome::Unfit);
        assert!(
            cycle
                .diagnosis
                .message(&pod("9"))
                .starts_with("0/2 nodes are available: 2 Insufficient cpu. ")
        );
    }
}
