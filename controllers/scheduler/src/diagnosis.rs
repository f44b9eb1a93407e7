//! Why a pod fits no node: reasons counted while deciding, put into Kubernetes' words afterwards.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::plugins::{PluginSet, Reason, ResourceSet};
use crate::pod::PodView;

/// What an attempt found out, node by node.
#[derive(Debug, Default)]
pub(crate) struct Diagnosis {
    /// The plugins that rejected at least one node.
    pub(crate) rejected_by: PluginSet,
    nodes: usize,
    reasons: Vec<(Reason, usize)>,
}

impl Diagnosis {
    pub(crate) fn clear(&mut self) {
        self.rejected_by = PluginSet::default();
        self.nodes = 0;
        self.reasons.clear();
    }

    pub(crate) fn count(&mut self, plugin: usize, reason: Reason) {
        self.rejected_by.insert(plugin);
        self.nodes += 1;
        match self.reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.reasons.push((reason, 1)),
        }
    }

    /// The message of the condition and the event.
    /// upstream: FitError and the answers of DynamicResources and DefaultPreemption after it
    pub(crate) fn message(&self, pod: &PodView) -> String {
        let mut why = BTreeMap::<String, usize>::new();
        let mut preemption = BTreeMap::<&str, usize>::new();
        for (reason, count) in &self.reasons {
            for text in texts(*reason, pod) {
                *why.entry(text).or_default() += count;
            }
            let helpless = if reason.is_resolvable() {
                "No preemption victims found for incoming pod"
            } else {
                "Preemption is not helpful for scheduling"
            };
            *preemption.entry(helpless).or_default() += count;
        }
        let mut message = none_available(self.nodes, &why);
        message.push_str(" no new claims to deallocate, preemption: ");
        if pod.preempts {
            message.push_str(&none_available(self.nodes, &preemption));
        } else {
            message.push_str("not eligible due to preemptionPolicy=Never.");
        }
        message
    }
}

fn none_available(nodes: usize, reasons: &BTreeMap<impl std::fmt::Display, usize>) -> String {
    // Sorted as text, the counts included: "10 ..." comes before "2 ...".
    let mut counted: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    counted.sort();
    let mut message = String::new();
    let _ = write!(message, "0/{nodes} nodes are available: {}.", counted.join(", "));
    message
}

fn texts(reason: Reason, pod: &PodView) -> Vec<String> {
    match reason {
        Reason::Unresolvable(text) | Reason::Resolvable(text) => vec![text.to_owned()],
        Reason::Insufficient { resources, .. } => {
            let mut texts = Vec::new();
            for (resource, text) in [
                (ResourceSet::PODS, "Too many pods"),
                (ResourceSet::CPU, "Insufficient cpu"),
                (ResourceSet::MEMORY, "Insufficient memory"),
                (ResourceSet::EPHEMERAL_STORAGE, "Insufficient ephemeral-storage"),
            ] {
                if resources.contains(resource) {
                    texts.push(text.to_owned());
                }
            }
            for (resource, (name, _)) in (ResourceSet::SCALARS..).zip(&pod.requests.scalars) {
                if resources.contains(resource) {
                    texts.push(format!("Insufficient {name}"));
                }
            }
            texts
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::fixtures;

    #[test]
    fn the_message_is_kubernetes_own() {
        let pod = fixtures::pod(json!({}));
        let mut resources = ResourceSet::default();
        resources.insert(ResourceSet::CPU);
        let mut diagnosis = Diagnosis::default();
        diagnosis.count(5, Reason::Insufficient { resources, resolvable: true });
        for _ in 0..2 {
            diagnosis.count(2, Reason::Unresolvable("node(s) had untolerated taint(s)"));
        }
        assert_eq!(
            diagnosis.message(&pod),
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). \
             no new claims to deallocate, preemption: 0/3 nodes are available: \
             1 No preemption victims found for incoming pod, \
             2 Preemption is not helpful for scheduling."
        );
    }
}
