//! Pods that wait for a node: those to try now, those to try after a wait, and those that must
//! wait until something changes that could make them fit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::node::NodeView;
use crate::plugins::{Change, PluginSet, Verdict};
use crate::pod::PodView;

/// How long pods wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    pub(crate) backoff_first: Duration,
    pub(crate) backoff_last: Duration,
    pub(crate) unschedulable: Duration,
}

/// A pod taken out to be tried, and how often that was done.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) pod: Arc<PodView>,
    pub(crate) attempts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// `order` keeps pods of one priority in the order in which they came.
    Active {
        priority: i32,
        order: u64,
    },
    Backoff {
        until: Instant,
        after_error: bool,
    },
    Unschedulable {
        since: Instant,
        rejected_by: PluginSet,
    },
    /// Waits for its scheduling gates to go.
    Gated,
}

struct Waiting {
    pod: Arc<PodView>,
    attempts: u32,
    place: Place,
    last_attempt: Option<Instant>,
}

/// All pods without a node that are ours to place.
pub(crate) struct Queue {
    waits: Waits,
    pods: BTreeMap<Arc<str>, Waiting>,
    active: BTreeSet<(Reverse<i32>, u64, Arc<str>)>,
    backoff: BTreeSet<(Instant, Arc<str>)>,
    unschedulable: BTreeSet<(Instant, Arc<str>)>,
    next_order: u64,
}

impl Queue {
    pub(crate) fn new(waits: Waits) -> Self {
        Self {
            waits,
            pods: BTreeMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            next_order: 0,
        }
    }

    /// Uids of all pods that wait.
    pub(crate) fn uids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pods.keys()
    }

    /// Takes in a pod that is new or changed. A change that could make it fit wakes it.
    pub(crate) fn update(&mut self, pod: Arc<PodView>, now: Instant) {
        let Some(known) = self.pods.get_mut(&pod.uid) else {
            let place = self.place_of(&pod);
            self.insert(Waiting { pod, attempts: 0, place, last_attempt: None });
            return;
        };
        let changed = decides_differently(&known.pod, &pod);
        known.pod = pod.clone();
        if !changed {
            return;
        }
        if pod.gated {
            self.move_to(&pod.uid, Place::Gated);
        } else if matches!(known.place, Place::Unschedulable { .. } | Place::Gated) {
            self.wake_one(&pod.uid, now);
        } else if let Place::Active { order, .. } = known.place {
            // The priority may have changed, and with it the place.
            self.move_to(&pod.uid, Place::Active { priority: pod.priority, order });
        }
    }

    /// Forgets a pod that is deleted or has a node.
    pub(crate) fn delete(&mut self, uid: &str) {
        self.remove(uid);
    }

    /// The next pod to try.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Attempt> {
        self.release_due(now);
        if self.active.is_empty() {
            // Nothing else to do: a pod whose wait is only a matter of fairness need not wait.
            if let Some(uid) = self.eager().cloned() {
                self.activate(&uid);
            }
        }
        let uid = self.active.first().map(|(_, _, uid)| uid.clone())?;
        let waiting = self.remove(&uid)?;
        Some(Attempt { pod: waiting.pod, attempts: waiting.attempts + 1 })
    }

    /// True if `pop` would answer a pod now.
    pub(crate) fn has_work(&self, now: Instant) -> bool {
        !self.active.is_empty()
            || self.next_due().is_some_and(|due| due <= now)
            || self.eager().is_some()
    }

    /// A pod that backs off, but not because of an error.
    fn eager(&self) -> Option<&Arc<str>> {
        self.backoff.iter().map(|(_, uid)| uid).find(|uid| {
            self.pods.get(*uid).is_some_and(|waiting| {
                matches!(waiting.place, Place::Backoff { after_error: false, .. })
            })
        })
    }

    /// When the next pod's wait is over.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let unschedulable =
            self.unschedulable.first().map(|(at, _)| *at + self.waits.unschedulable);
        let backoff = self.backoff.first().map(|(at, _)| *at);
        unschedulable.into_iter().chain(backoff).min()
    }

    /// Puts back a pod that fits nowhere until something changes.
    pub(crate) fn reject(&mut self, attempt: Attempt, rejected_by: PluginSet, now: Instant) {
        self.put_back(attempt, Place::Unschedulable { since: now, rejected_by }, now);
    }

    /// Puts back a pod whose attempt failed for no fault of its own.
    pub(crate) fn retry(&mut self, attempt: Attempt, now: Instant) {
        let until = now + self.backoff_wait(attempt.attempts);
        self.put_back(attempt, Place::Backoff { until, after_error: true }, now);
    }

    /// Wakes the pods that a change on `node` could make fit: those rejected by a plugin that the
    /// change concerns and that accepts the node now.
    pub(crate) fn wake(&mut self, change: Change, node: &NodeView, now: Instant) {
        let could_fit = |waiting: &Waiting| match waiting.place {
            Place::Unschedulable { rejected_by, .. } => {
                let mut plugins = rejected_by.iter();
                plugins.any(|plugin| {
                    plugin.wakes_on.contains(&change)
                        && plugin
                            .filter
                            .is_none_or(|filter| filter(&waiting.pod, node) == Verdict::Fits)
                })
                // Rejected without any plugin: there was no node at all.
                || (rejected_by == PluginSet::default() && change == Change::NodeAdded)
            }
            _ => false,
        };
        let woken: Vec<Arc<str>> = self
            .unschedulable
            .iter()
            .filter(|(_, uid)| self.pods.get(uid).is_some_and(could_fit))
            .map(|(_, uid)| uid.clone())
            .collect();
        for uid in woken {
            self.wake_one(&uid, now);
        }
    }

    fn wake_one(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(waiting) = self.pods.get(uid) else {
            return;
        };
        let until = waiting.last_attempt.map(|at| at + self.backoff_wait(waiting.attempts));
        match until {
            Some(until) if until > now => {
                self.move_to(uid, Place::Backoff { until, after_error: false });
            }
            _ => self.activate(uid),
        }
    }

    fn release_due(&mut self, now: Instant) {
        while let Some((_, uid)) = self.backoff.first().filter(|(until, _)| *until <= now).cloned()
        {
            self.activate(&uid);
        }
        let limit = self.waits.unschedulable;
        while let Some((_, uid)) =
            self.unschedulable.first().filter(|(since, _)| *since + limit <= now).cloned()
        {
            self.activate(&uid);
        }
    }

    fn backoff_wait(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        self.waits.backoff_first.saturating_mul(1 << doublings).min(self.waits.backoff_last)
    }

    fn place_of(&mut self, pod: &PodView) -> Place {
        if pod.gated {
            return Place::Gated;
        }
        self.next_order += 1;
        Place::Active { priority: pod.priority, order: self.next_order }
    }

    fn activate(&mut self, uid: &Arc<str>) {
        let Some(priority) = self.pods.get(uid).map(|waiting| waiting.pod.priority) else {
            return;
        };
        self.next_order += 1;
        self.move_to(uid, Place::Active { priority, order: self.next_order });
    }

    fn move_to(&mut self, uid: &Arc<str>, place: Place) {
        if let Some(waiting) = self.remove(uid) {
            self.insert(Waiting { place, ..waiting });
        }
    }

    fn put_back(&mut self, attempt: Attempt, place: Place, now: Instant) {
        let Attempt { pod, attempts } = attempt;
        self.insert(Waiting { pod, attempts, place, last_attempt: Some(now) });
    }

    fn insert(&mut self, waiting: Waiting) {
        let uid = waiting.pod.uid.clone();
        match waiting.place {
            Place::Active { priority, order } => {
                self.active.insert((Reverse(priority), order, uid.clone()));
            }
            Place::Backoff { until, .. } => _ = self.backoff.insert((until, uid.clone())),
            Place::Unschedulable { since, .. } => {
                self.unschedulable.insert((since, uid.clone()));
            }
            Place::Gated => {}
        }
        self.pods.insert(uid, waiting);
    }

    fn remove(&mut self, uid: &str) -> Option<Waiting> {
        let waiting = self.pods.remove(uid)?;
        let uid = waiting.pod.uid.clone();
        match waiting.place {
            Place::Active { priority, order } => {
                self.active.remove(&(Reverse(priority), order, uid));
            }
            Place::Backoff { until, .. } => _ = self.backoff.remove(&(until, uid)),
            Place::Unschedulable { since, .. } => _ = self.unschedulable.remove(&(since, uid)),
            Place::Gated => {}
        }
        Some(waiting)
    }
}

/// True if a decision about the pod could end in another way now.
fn decides_differently(old: &PodView, new: &PodView) -> bool {
    old.gated != new.gated
        || old.priority != new.priority
        || old.requests != new.requests
        || old.tolerations != new.tolerations
        || old.node_selector != new.node_selector
        || old.required_affinity != new.required_affinity
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::{self, fixtures};

    fn queue() -> Queue {
        Queue::new(Waits {
            backoff_first: Duration::from_secs(1),
            backoff_last: Duration::from_secs(10),
            unschedulable: Duration::from_secs(300),
        })
    }

    fn pod(uid: &str, spec: Value) -> Arc<PodView> {
        let mut pod = fixtures::pod(spec);
        pod.uid = uid.into();
        Arc::new(pod)
    }

    fn popped(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|one| one.pod.uid.to_string()).collect()
    }

    fn node(cpu: &str) -> NodeView {
        fixtures::node(json!({"status": {"allocatable": {"cpu": cpu, "pods": "10"}}}))
    }

    fn rejected(queue: &mut Queue, node: &NodeView, now: Instant) {
        let attempt = queue.pop(now).unwrap();
        let (plugin, _) = plugins::filter(&attempt.pod, node).unwrap();
        let mut rejected_by = PluginSet::default();
        rejected_by.insert(plugin);
        queue.reject(attempt, rejected_by, now);
    }

    fn asks(cpu: &str) -> Value {
        json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]})
    }

    #[test]
    fn higher_priority_first_then_in_order_of_arrival() {
        let (mut queue, now) = (queue(), Instant::now());
        for (uid, priority) in [("a", 0), ("b", 10), ("c", 0), ("d", 10)] {
            queue.update(pod(uid, json!({"priority": priority})), now);
        }
        assert_eq!(popped(&mut queue, now), ["b", "d", "a", "c"]);
    }

    #[test]
    fn a_gated_pod_waits_for_its_gates() {
        let (mut queue, now) = (queue(), Instant::now());
        queue.update(pod("a", json!({"schedulingGates": [{"name": "g"}]})), now);
        assert!(queue.pop(now).is_none());
        queue.update(pod("a", json!({})), now);
        assert_eq!(popped(&mut queue, now), ["a"]);
    }

    #[test]
    fn a_rejected_pod_wakes_only_when_the_change_helps() {
        let (mut queue, now) = (queue(), Instant::now());
        queue.update(pod("a", asks("2")), now);
        rejected(&mut queue, &node("1"), now);
        queue.wake(Change::NodeLabels, &node("4"), now);
        queue.wake(Change::NodeAllocatable, &node("1500m"), now);
        assert!(!queue.has_work(now));
        queue.wake(Change::NodeAllocatable, &node("4"), now);
        assert_eq!(popped(&mut queue, now), ["a"]);
    }

    #[test]
    fn a_rejected_pod_ignores_its_own_status_but_not_its_spec() {
        let (mut queue, now) = (queue(), Instant::now());
        queue.update(pod("a", asks("2")), now);
        rejected(&mut queue, &node("1"), now);
        queue.update(pod("a", asks("2")), now);
        assert!(queue.pop(now).is_none());
        queue.update(pod("a", asks("1")), now);
        assert_eq!(popped(&mut queue, now), ["a"]);
    }

    #[test]
    fn an_error_waits_longer_each_time() {
        let (mut queue, mut now) = (queue(), Instant::now());
        queue.update(pod("a", json!({})), now);
        for wait in [1, 2, 4, 8, 10, 10] {
            let attempt = queue.pop(now).unwrap();
            queue.retry(attempt, now);
            assert!(queue.pop(now).is_none() && !queue.has_work(now));
            assert_eq!(queue.next_due(), Some(now + Duration::from_secs(wait)));
            now += Duration::from_secs(wait);
        }
    }

    #[test]
    fn an_unschedulable_pod_is_tried_again_in_the_end() {
        let (mut queue, now) = (queue(), Instant::now());
        queue.update(pod("a", asks("2")), now);
        rejected(&mut queue, &node("1"), now);
        assert_eq!(popped(&mut queue, now + Duration::from_secs(300)), ["a"]);
    }

    #[test]
    fn a_pod_without_any_node_wakes_with_the_first() {
        let (mut queue, now) = (queue(), Instant::now());
        queue.update(pod("a", json!({})), now);
        let attempt = queue.pop(now).unwrap();
        queue.reject(attempt, PluginSet::default(), now);
        queue.wake(Change::NodeAdded, &node("1"), now);
        assert!(queue.has_work(now));
        queue.delete("a");
        assert!(queue.pop(now).is_none() && !queue.has_work(now));
    }
}
