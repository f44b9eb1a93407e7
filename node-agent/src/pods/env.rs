//! The environment of a container: Services, envFrom, env with its sources and references. Pure over gathered sources.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::downward::{PodFacts, field_value, resource_value};
use super::expansion::expand;
use super::lookup::namespace_of;
use crate::agent::{Contents, ObjectKey, ObjectKind, ObjectState};
use crate::network::services::Service;

/// Why a container has no environment; becomes `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EnvError {
    #[error("{kind} \"{name}\" not found")]
    ObjectMissing { kind: &'static str, name: String },
    #[error("failed to sync {kind} cache: {why}")]
    ObjectUnknown { kind: &'static str, why: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyMissing { kind: &'static str, namespace: String, name: String, key: String },
    #[error("value of {kind} {name}, key {key}, is not text")]
    NotText { kind: &'static str, name: String, key: String },
    #[error("unsupported fieldPath: {0}")]
    FieldPath(String),
    #[error("container or resource not found: {0}")]
    Resource(String),
}

/// What was gathered before.
pub(crate) struct EnvSources<'a> {
    pub(crate) services: BTreeMap<String, Arc<Service>>,
    pub(crate) objects: &'a BTreeMap<ObjectKey, ObjectState>,
    pub(crate) facts: &'a PodFacts,
}

/// Names and values in the order in which they are given.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &EnvSources<'_>,
) -> Result<Vec<(String, String)>, EnvError> {
    let service_env = service_environment(&sources.services);
    let mut from = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => (ObjectKind::ConfigMap, &map.name, map.optional),
            (None, Some(secret)) => (ObjectKind::Secret, &secret.name, secret.optional),
            (None, None) => continue,
        };
        let found = object(pod, sources.objects, kind, name, optional.unwrap_or(false))?;
        for (key, value) in found.iter().flat_map(|c| &c.data) {
            let value = std::str::from_utf8(value).map_err(|_| EnvError::NotText {
                kind: kind.word(),
                name: name.clone(),
                key: key.clone(),
            })?;
            from.insert(format!("{prefix}{key}"), value.to_owned());
        }
    }
    let mut result: Vec<(String, String)> = Vec::new();
    let mut known: BTreeMap<String, String> = from.clone();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => match from_source(pod, container, source, sources)? {
                Some(value) => value,
                None => continue,
            },
            (Some(value), None) => expand(value, |name| {
                known.get(name).or_else(|| service_env.get(name)).map(String::as_str)
            }),
            (None, None) => String::new(),
        };
        known.insert(variable.name.clone(), value.clone());
        result.retain(|(name, _)| *name != variable.name);
        result.push((variable.name.clone(), value));
    }
    let own = |name: &String| result.iter().any(|(n, _)| n == name);
    let rest: Vec<(String, String)> = from
        .iter()
        .chain(service_env.iter().filter(|(name, _)| !from.contains_key(*name)))
        .filter(|(name, _)| !own(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    result.extend(rest);
    Ok(result)
}

fn object<'a>(
    pod: &Pod,
    objects: &'a BTreeMap<ObjectKey, ObjectState>,
    kind: ObjectKind,
    name: &str,
    optional: bool,
) -> Result<Option<&'a Contents>, EnvError> {
    let key = ObjectKey { kind, namespace: namespace_of(pod).to_owned(), name: name.to_owned() };
    match objects.get(&key) {
        Some(ObjectState::Found(contents)) => Ok(Some(contents)),
        Some(ObjectState::Missing) if optional => Ok(None),
        Some(ObjectState::Missing) => {
            Err(EnvError::ObjectMissing { kind: kind.word(), name: name.to_owned() })
        }
        Some(ObjectState::Unknown(why)) => {
            Err(EnvError::ObjectUnknown { kind: kind.word(), why: why.clone() })
        }
        None => Err(EnvError::ObjectUnknown { kind: kind.word(), why: "not followed".into() }),
    }
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &EnvSources<'_>,
) -> Result<Option<String>, EnvError> {
    if let Some(field) = &source.field_ref {
        let value = field_value(pod, &field.field_path, sources.facts);
        return value.map(Some).ok_or_else(|| EnvError::FieldPath(field.field_path.clone()));
    }
    if let Some(resource) = &source.resource_field_ref {
        let value = resource_value(pod, &container.name, resource, sources.facts);
        return value.map(Some).ok_or_else(|| EnvError::Resource(resource.resource.clone()));
    }
    let (kind, name, key, optional) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(r), _) => (ObjectKind::ConfigMap, &r.name, &r.key, r.optional),
        (None, Some(r)) => (ObjectKind::Secret, &r.name, &r.key, r.optional),
        (None, None) => return Ok(Some(String::new())),
    };
    let optional = optional.unwrap_or(false);
    let Some(contents) = object(pod, sources.objects, kind, name, optional)? else {
        return Ok(None);
    };
    let word = match kind {
        ObjectKind::ConfigMap => "ConfigMap",
        ObjectKind::Secret => "Secret",
    };
    match contents.data.get(key) {
        Some(value) => match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(EnvError::NotText { kind: word, name: name.clone(), key: key.clone() }),
        },
        None if optional => Ok(None),
        None => Err(EnvError::KeyMissing {
            kind: word,
            namespace: namespace_of(pod).to_owned(),
            name: name.clone(),
            key: key.clone(),
        }),
    }
}

// upstream: kubelet/envvars, FromServices
fn service_environment(services: &BTreeMap<String, Arc<Service>>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (name, service) in services {
        let prefix = name.to_uppercase().replace('-', "_");
        let (Some(ip), Some(first)) = (service.cluster_ips.first(), service.ports.first()) else {
            continue;
        };
        let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        env.insert(format!("{prefix}_SERVICE_HOST"), ip.to_string());
        env.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        for port in &service.ports {
            if !port.name.is_empty() {
                let name = port.name.to_uppercase().replace('-', "_");
                env.insert(format!("{prefix}_SERVICE_PORT_{name}"), port.port.to_string());
            }
        }
        for (index, port) in service.ports.iter().enumerate() {
            let protocol = port.protocol.lower();
            let url = format!("{protocol}://{host}:{}", port.port);
            if index == 0 {
                env.insert(format!("{prefix}_PORT"), url.clone());
            }
            let port_prefix = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
            env.insert(format!("{port_prefix}_PROTO"), protocol.to_owned());
            env.insert(format!("{port_prefix}_PORT"), port.port.to_string());
            env.insert(format!("{port_prefix}_ADDR"), ip.to_string());
            env.insert(port_prefix, url);
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::json;

    fn pod(container: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [container]},
        }))
        .unwrap()
    }

    fn run(container: serde_json::Value) -> Result<BTreeMap<String, String>, EnvError> {
        let pod = pod(container);
        let contents = |pairs: &[(&str, &str)]| {
            let data =
                pairs.iter().map(|(k, v)| ((*k).to_owned(), Bytes::copy_from_slice(v.as_bytes())));
            ObjectState::Found(Arc::new(Contents { data: data.collect(), ..Default::default() }))
        };
        let key = |kind, name: &str| ObjectKey { kind, namespace: "n".into(), name: name.into() };
        let objects = BTreeMap::from([
            (key(ObjectKind::ConfigMap, "m"), contents(&[("A", "1"), ("B", "2")])),
            (key(ObjectKind::Secret, "s"), contents(&[("password", "x")])),
            (key(ObjectKind::ConfigMap, "none"), ObjectState::Missing),
        ]);
        let service = serde_json::from_value(json!({"metadata": {}, "spec": {
            "clusterIP": "10.96.0.7", "ports": [{"name": "http-web", "port": 80}]}}));
        let service = Arc::new(Service::from_object(&service.unwrap()));
        let services = BTreeMap::from([("my-svc".to_owned(), service)]);
        let sources = EnvSources { services, objects: &objects, facts: &PodFacts::default() };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        environment(&pod, container, &sources).map(|list| list.into_iter().collect())
    }

    #[test]
    fn values_come_from_all_sources_and_env_wins() {
        let env = run(json!({"name": "c",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}],
        "env": [
            {"name": "P_B", "value": "own"},
            {"name": "X", "value": "$(P_A)-$(MY_SVC_SERVICE_HOST)-$(LATER)-$$(P_A)"},
            {"name": "LATER", "value": "l"},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "O", "valueFrom": {"configMapKeyRef":
                {"name": "none", "key": "k", "optional": true}}},
        ]}))
        .unwrap();
        let get = |name: &str| env.get(name).map(String::as_str);
        assert_eq!(get("P_A"), Some("1"));
        assert_eq!(get("P_B"), Some("own"));
        assert_eq!(get("X"), Some("1-10.96.0.7-$(LATER)-$(P_A)"));
        assert_eq!((get("S"), get("N"), get("O")), (Some("x"), Some("p"), None));
        assert_eq!(get("MY_SVC_SERVICE_PORT_HTTP_WEB"), Some("80"));
        assert_eq!(get("MY_SVC_PORT_80_TCP"), Some("tcp://10.96.0.7:80"));
    }

    #[test]
    fn missing_sources_are_told_in_the_words_of_the_kubelet() {
        let check = |env: serde_json::Value, words: &str| {
            let error = run(json!({"name": "c", "env": [{"name": "X", "valueFrom": env}]}));
            assert_eq!(error.unwrap_err().to_string(), words);
        };
        check(
            json!({"configMapKeyRef": {"name": "none", "key": "k"}}),
            "configmap \"none\" not found",
        );
        check(
            json!({"secretKeyRef": {"name": "s", "key": "k"}}),
            "couldn't find key k in Secret n/s",
        );
    }
}
