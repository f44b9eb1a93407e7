//! Whose an object is: by controller reference first, by selector to adopt and release.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use keelson_controller_runtime::{Watched, controller_of};
use kube::api::{Api, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::{Resource, ResourceExt};
use serde_json::json;

/// A compiled label selector; one that does not parse or is empty selects nothing.
pub(crate) struct Matcher(Option<Selector>);

impl Matcher {
    pub(crate) fn new(selector: &LabelSelector) -> Self {
        let selector = Selector::try_from(selector.clone()).ok();
        Self(selector.filter(|selector| !selector.selects_all()))
    }

    pub(crate) fn matches(&self, meta: &ObjectMeta) -> bool {
        let none = BTreeMap::new();
        let labels = meta.labels.as_ref().unwrap_or(&none);
        self.0.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// Who asks for objects.
pub(crate) struct Claimant<'a> {
    pub(crate) uid: &'a str,
    pub(crate) deleting: bool,
    pub(crate) matcher: &'a Matcher,
}

/// What is to be done with candidates.
#[derive(Debug)]
pub(crate) struct Claims<K> {
    /// The claimant's already.
    pub(crate) owned: Vec<Arc<K>>,
    /// Nobody's, and matching: to be adopted.
    pub(crate) adopt: Vec<Arc<K>>,
    /// The claimant's, but no longer matching: to be released.
    pub(crate) release: Vec<Arc<K>>,
}

/// Sorts candidates. Nothing changes hands while either side is being deleted.
pub(crate) fn claim<K: Watched>(claimant: &Claimant<'_>, candidates: Vec<Arc<K>>) -> Claims<K> {
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in candidates {
        let matches = claimant.matcher.matches(object.object_meta());
        match controller_of(object.object_meta()) {
            Some(owner) if owner.uid == claimant.uid => {
                if matches {
                    claims.owned.push(object);
                } else if !claimant.deleting && !object.is_deleting() {
                    claims.release.push(object);
                }
            }
            Some(_) => {}
            None if matches && !claimant.deleting && !object.is_deleting() => {
                claims.adopt.push(object);
            }
            None => {}
        }
    }
    claims
}

/// The reference that makes `owner` the controller of what carries it.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Makes `owner` the controller of an object that has none.
pub(crate) async fn adopt<K>(api: &Api<K>, object: &K, owner: &OwnerReference) -> kube::Result<K>
where
    K: Watched + Resource + std::fmt::Debug,
{
    let patch = json!({"metadata": {"uid": object.uid(), "ownerReferences": [owner]}});
    api.patch(&object.key().name, &PatchParams::default(), &Patch::Strategic(patch)).await
}

/// Takes the owner off an object. None if the object is gone.
pub(crate) async fn release<K>(api: &Api<K>, object: &K, owner: &str) -> kube::Result<Option<K>>
where
    K: Watched + Resource + std::fmt::Debug,
{
    let patch = json!({"metadata": {
        "uid": object.uid(),
        "ownerReferences": [{"$patch": "delete", "uid": owner}],
    }});
    let params = PatchParams::default();
    match api.patch(&object.key().name, &params, &Patch::Strategic(patch)).await {
        Ok(released) => Ok(Some(released)),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_invalid() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use keelson_controller_runtime::MetaObject;
    use serde_json::Value;

    use super::*;

    fn object(labels: Value, owner: Option<&str>) -> Arc<MetaObject> {
        let owners = owner.map(|uid| {
            json!([{"apiVersion": "v1", "kind": "K", "name": "n", "uid": uid, "controller": true}])
        });
        let object = json!({"metadata": {"labels": labels, "ownerReferences": owners}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn objects_change_hands_by_label_unless_the_owner_is_going() {
        let selector = json!({"matchLabels": {"app": "a"}});
        let matcher = Matcher::new(&serde_json::from_value(selector).unwrap());
        let candidates = || {
            vec![
                object(json!({"app": "a"}), Some("me")),
                object(json!({"app": "b"}), Some("me")),
                object(json!({"app": "a"}), Some("other")),
                object(json!({"app": "a"}), None),
                object(json!({"app": "b"}), None),
            ]
        };
        let count = |deleting| {
            let claimant = Claimant { uid: "me", deleting, matcher: &matcher };
            let claims = claim(&claimant, candidates());
            (claims.owned.len(), claims.adopt.len(), claims.release.len())
        };
        assert_eq!(count(false), (1, 1, 1));
        assert_eq!(count(true), (1, 0, 0));
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(!Matcher::new(&LabelSelector::default()).matches(&ObjectMeta::default()));
    }
}
