//! What a namespace that is being deleted says of its content.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NamespaceCondition;
use keelson_controller_runtime::now;

/// What is left in a namespace, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// Objects left, by `plural.group`.
    pub(super) kinds: BTreeMap<String, usize>,
    /// Objects left, by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// What could not be deleted, and why.
    pub(super) failures: Vec<String>,
    /// Why not all kinds are known.
    pub(super) discovery_failure: Option<String>,
}

impl Remains {
    /// Counts what is left of a kind, given each object's finalizers.
    pub(super) fn count(&mut self, kind: &str, left: &[Vec<String>]) {
        if !left.is_empty() {
            self.kinds.insert(kind.to_owned(), left.len());
        }
        for finalizer in left.iter().flatten() {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }
}

/// The conditions that say so; times change only where statuses do.
pub(super) fn conditions(old: &[NamespaceCondition], remains: &Remains) -> Vec<NamespaceCondition> {
    let mut failures = remains.failures.clone();
    failures.sort();
    let failed = (!failures.is_empty()).then(|| {
        let all = failures.join(", ");
        format!("Failed to delete all resource types, {} remaining: {all}", failures.len())
    });
    let counted = |what: &BTreeMap<String, usize>, word: &str| {
        let all: Vec<String> = what
            .iter()
            .map(|(name, count)| format!("{name} {word} {count} resource instances"))
            .collect();
        all.join(", ")
    };
    let kinds = (!remains.kinds.is_empty())
        .then(|| format!("Some resources are remaining: {}", counted(&remains.kinds, "has")));
    let finalizers = (!remains.finalizers.is_empty()).then(|| {
        let all = counted(&remains.finalizers, "in");
        format!("Some content in the namespace has finalizers remaining: {all}")
    });
    let table: [(&str, &str, &str, &str, Option<String>); 5] = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
            "DiscoveryFailed",
            remains.discovery_failure.clone(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
            "GroupVersionParsingFailed",
            None,
        ),
        (
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
            "ContentDeletionFailed",
            failed,
        ),
        (
            "NamespaceContentRemaining",
            "ContentRemoved",
            "All content successfully removed",
            "SomeResourcesRemain",
            kinds,
        ),
        (
            "NamespaceFinalizersRemaining",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
            "SomeFinalizersRemain",
            finalizers,
        ),
    ];
    let mut conditions = old.to_vec();
    for (kind, fine_reason, fine_message, reason, problem) in table {
        let (status, reason, message) = match problem {
            Some(message) => ("True", reason, message),
            None => ("False", fine_reason, fine_message.to_owned()),
        };
        let at = conditions.iter().position(|condition| condition.type_ == kind);
        let since = at
            .filter(|at| conditions[*at].status == status)
            .and_then(|at| conditions[at].last_transition_time.clone());
        let condition = NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since.or_else(|| Some(now())),
        };
        match at {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_named_and_counted() {
        let mut remains = Remains::default();
        remains.count("pods.", &[vec![], vec!["example.com/hold".into()]]);
        remains.count("secrets.", &[]);
        let conditions = conditions(&[], &remains);
        let message = |kind: &str| {
            let found = conditions.iter().find(|condition| condition.type_ == kind).unwrap();
            (found.status.as_str(), found.message.as_deref().unwrap())
        };
        assert_eq!(
            message("NamespaceContentRemaining"),
            ("True", "Some resources are remaining: pods. has 2 resource instances")
        );
        assert_eq!(
            message("NamespaceFinalizersRemaining").1,
            "Some content in the namespace has finalizers remaining: \
             example.com/hold in 1 resource instances"
        );
        assert_eq!(message("NamespaceDeletionContentFailure").0, "False");
    }

    #[test]
    fn nothing_changes_while_nothing_happens() {
        let first = conditions(&[], &Remains::default());
        assert_eq!(conditions(&first, &Remains::default()), first);
    }
}
