//! Revisions: which set is the deployment's template, its name, its number in the history.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_controller_runtime::Watched;

use super::set::Set;
use crate::claim::controller_reference;

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// What the deployment wanted of all its sets when this one was scaled.
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with what it allowed beyond.
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const TEMPLATE_HASH: &str = "pod-template-hash";
/// The history of a set's revisions is cut to this length.
const HISTORY_BYTES_MAX: usize = 2000;
const NAME_BYTES_MAX: usize = 253;

/// Annotations of a deployment that are its own, and not those of its sets.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// The revision annotation.
pub(super) fn of(meta: &ObjectMeta) -> Option<&str> {
    meta.annotations.as_ref()?.get(REVISION).map(String::as_str)
}

/// Sets the revision annotation.
pub(super) fn set(meta: &mut ObjectMeta, revision: &str) {
    meta.annotations.get_or_insert_default().insert(REVISION.to_owned(), revision.to_owned());
}

/// An annotation as a number.
pub(super) fn number(meta: &ObjectMeta, annotation: &str) -> Option<i64> {
    meta.annotations.as_ref()?.get(annotation)?.parse().ok()
}

/// The highest revision among sets.
pub(super) fn highest<'a>(sets: impl Iterator<Item = &'a Set>) -> i64 {
    sets.filter_map(|set| number(&set.object.metadata, REVISION)).max().unwrap_or(0)
}

/// A set's revision, 0 if it has none.
pub(super) fn of_set(set: &Set) -> i64 {
    number(&set.object.metadata, REVISION).unwrap_or(0)
}

/// The oldest set with the deployment's template.
pub(super) fn find_new(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<usize> {
    let wanted = without_hash(&deployment.spec.as_ref()?.template);
    (0..sets.len())
        .filter(|at| {
            let template = sets[*at].spec.as_ref().and_then(|spec| spec.template.as_ref());
            template.is_some_and(|template| without_hash(template) == wanted)
        })
        .min_by_key(|at| (sets[*at].metadata.creation_timestamp.clone(), sets[*at].key().name))
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(TEMPLATE_HASH);
    }
    meta.creation_timestamp = None;
    template
}

/// The set for the deployment's template, with no replicas yet.
pub(super) fn new_set(deployment: &Deployment, revision: i64) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template_hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(TEMPLATE_HASH.to_owned(), hash.clone());
    let key = deployment.key();
    let mut name = key.name;
    name.truncate(NAME_BYTES_MAX - hash.len() - 1);
    let mut annotations: BTreeMap<String, String> = copied(deployment).collect();
    annotations.insert(REVISION.to_owned(), revision.to_string());
    Some(ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: Some(key.namespace),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    })
}

/// Brings what the existing new set takes over from its deployment up to date.
pub(super) fn update_new(deployment: &Deployment, set: &mut Set, revision: i64) {
    for (name, value) in copied(deployment) {
        let annotations = set.object.metadata.annotations.get_or_insert_default();
        if annotations.get(&name) != Some(&value) {
            annotations.insert(name, value);
            set.touch();
        }
    }
    let old = number(&set.object.metadata, REVISION);
    if old.unwrap_or(0) < revision {
        let annotations = set.object.metadata.annotations.get_or_insert_default();
        if let Some(old) = old {
            // It was the newest before and is rolled back to: its old number stays known.
            let known = annotations.get(REVISION_HISTORY).cloned().unwrap_or_default();
            let mut all: Vec<&str> = known.split(',').filter(|one| !one.is_empty()).collect();
            let old = old.to_string();
            all.push(&old);
            while all.len() > 1 && all.join(",").len() > HISTORY_BYTES_MAX {
                all.remove(0);
            }
            annotations.insert(REVISION_HISTORY.to_owned(), all.join(","));
        }
        annotations.insert(REVISION.to_owned(), revision.to_string());
        set.touch();
    }
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
    if let Some(spec) = &mut set.object.spec
        && spec.min_ready_seconds.unwrap_or(0) != wanted.unwrap_or(0)
    {
        spec.min_ready_seconds = wanted;
        set.touch();
    }
}

fn copied(deployment: &Deployment) -> impl Iterator<Item = (String, String)> {
    let annotations = deployment.metadata.annotations.iter().flatten();
    annotations
        .filter(|(name, _)| !NOT_COPIED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
}

/// A stable hash of a template, in letters and digits that form no words.
fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    // Fields in a fixed order and maps sorted: the same template gives the same bytes.
    let mut bytes = serde_json::to_vec(template).unwrap_or_default();
    if let Some(collisions) = collisions {
        bytes.extend_from_slice(&collisions.to_le_bytes());
    }
    // FNV-1a
    let hash = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let letter = |digit: u8| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]);
    hash.to_string().bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_has_one_name_until_it_collides() {
        let template: PodTemplateSpec = serde_json::from_value(json!({
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }))
        .unwrap();
        let hash = template_hash(&template, None);
        assert_eq!(hash, template_hash(&template.clone(), None));
        assert_ne!(hash, template_hash(&template, Some(1)));
        assert!((1..=10).contains(&hash.len()), "{hash}");
    }
}
