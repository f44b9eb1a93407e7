//! Which ConfigMaps and Secrets a pod refers to.
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::lookup::{app_containers, init_containers, namespace_of};
use crate::agent::{ObjectKey, ObjectKind};

/// Every object that volumes, environment and pulls of the pod need.
pub(crate) fn references(pod: &Pod) -> BTreeSet<ObjectKey> {
    let mut keys = BTreeSet::new();
    let mut add = |kind, name: &str| {
        if !name.is_empty() {
            let (namespace, name) = (namespace_of(pod).to_owned(), name.to_owned());
            keys.insert(ObjectKey { kind, namespace, name });
        }
    };
    let Some(spec) = &pod.spec else { return keys };
    for container in init_containers(pod).iter().chain(app_containers(pod)) {
        for from in container.env_from.iter().flatten() {
            from.config_map_ref.iter().for_each(|r| add(ObjectKind::ConfigMap, &r.name));
            from.secret_ref.iter().for_each(|r| add(ObjectKind::Secret, &r.name));
        }
        for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            source.config_map_key_ref.iter().for_each(|r| add(ObjectKind::ConfigMap, &r.name));
            source.secret_key_ref.iter().for_each(|r| add(ObjectKind::Secret, &r.name));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        volume.config_map.iter().for_each(|v| add(ObjectKind::ConfigMap, &v.name));
        if let Some(name) = volume.secret.as_ref().and_then(|v| v.secret_name.as_deref()) {
            add(ObjectKind::Secret, name);
        }
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            source.config_map.iter().for_each(|v| add(ObjectKind::ConfigMap, &v.name));
            source.secret.iter().for_each(|v| add(ObjectKind::Secret, &v.name));
        }
    }
    for pull in spec.image_pull_secrets.iter().flatten() {
        add(ObjectKind::Secret, &pull.name);
    }
    keys
}
