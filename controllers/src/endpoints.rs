//! Endpoints: the older form of endpoint slices, one object a service, for clients that still read
//! it. Only the first address family.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service,
};
use k8s_openapi::api::discovery::v1::Endpoint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_controller_runtime::{Next, ObjectKey, Queue, Watched, run_workers};
use kube::api::{Api, DeleteParams, PostParams};

use crate::Controller;
use crate::api_error::{gone_is_fine, is_namespace_terminating};
use crate::endpoint_slice::endpoints::{Group, desired, is_headless, selector, selects};
use crate::endpoint_slice::enqueue_services_of_pods;
use crate::env::Env;

pub(super) const ENTRY: Controller = Controller {
    name: "endpoints-controller",
    account: "endpoint-controller",
    run: |env| Box::pin(run(env)),
};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Upstream's limit of addresses in one object.
const ADDRESSES_MAX: usize = 1000;

async fn run(env: Env) {
    let queue = Arc::new(Queue::default());
    let own = queue.clone();
    env.informers.services.on_change(move |change| own.add(change.object().key()));
    let own = queue.clone();
    env.informers.endpoints.on_change(move |change| own.add(change.object().key()));
    enqueue_services_of_pods(&env.informers, &queue);
    env.informers.services.synced().await;
    env.informers.endpoints.synced().await;
    env.informers.pods.synced().await;
    let (workers, token) = (env.config.concurrent_service_endpoint_syncs, env.token.clone());
    run_workers("endpoints", queue, workers, token, move |key| reconcile(env.clone(), key)).await;
}

async fn reconcile(env: Env, key: ObjectKey) -> Result<Next, kube::Error> {
    let api = Api::<Endpoints>::namespaced(env.client.clone(), &key.namespace);
    let existing = env.informers.endpoints.get(&key);
    let Some(service) = env.informers.services.get(&key) else {
        if let Some(existing) = existing.filter(|one| is_ours(one) && !one.is_deleting()) {
            gone_is_fine(api.delete(&key.name, &DeleteParams::default()).await)?;
            env.informers.endpoints.observe_delete(&key, existing.uid());
        }
        return Ok(Next::Wait);
    };
    let Some(selector) = selector(&service).filter(|_| !service.is_deleting()) else {
        return Ok(Next::Wait);
    };
    let pods = env.informers.pods.in_namespace(&key.namespace);
    let pods = pods.iter().filter(|pod| selects(selector, pod)).map(Arc::as_ref);
    let groups = desired(&service, pods, &|_| None);
    let wanted = plan(&service, groups, existing.as_deref());
    let params = PostParams::default();
    let result = match existing {
        None => api.create(&params, &wanted).await,
        Some(existing) if is_same(&existing, &wanted) => return Ok(Next::Wait),
        Some(_) => api.replace(&key.name, &params, &wanted).await,
    };
    match result {
        Ok(written) => env.informers.endpoints.observe_write(written),
        Err(error) if is_namespace_terminating(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Next::Wait)
}

fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGER)
}

fn is_same(existing: &Endpoints, wanted: &Endpoints) -> bool {
    let subsets = |one: &Endpoints| one.subsets.clone().unwrap_or_default();
    subsets(existing) == subsets(wanted)
        && existing.metadata.labels == wanted.metadata.labels
        && existing.metadata.annotations == wanted.metadata.annotations
}

/// The object as it is to be.
fn plan(service: &Service, groups: Vec<Group>, existing: Option<&Endpoints>) -> Endpoints {
    let spec = service.spec.as_ref();
    let publish = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let family = groups.first().map_or("IPv4", |group| group.address_type);
    let mut left = ADDRESSES_MAX;
    let mut over_capacity = false;
    let mut subsets = Vec::new();
    for group in groups.into_iter().filter(|group| group.address_type == family) {
        let (mut ready, mut not_ready) = (Vec::new(), Vec::new());
        for endpoint in group.endpoints {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            if conditions.terminating == Some(true) && !publish {
                continue;
            }
            if left == 0 {
                over_capacity = true;
                break;
            }
            left -= 1;
            let list = if conditions.ready == Some(true) { &mut ready } else { &mut not_ready };
            list.push(address(endpoint));
        }
        if ready.is_empty() && not_ready.is_empty() {
            continue;
        }
        ready.sort_by(|a, b| a.ip.cmp(&b.ip));
        not_ready.sort_by(|a, b| a.ip.cmp(&b.ip));
        let ports = group.ports.into_iter().map(|port| EndpointPort {
            name: port.name.filter(|name| !name.is_empty()),
            port: port.port.unwrap_or(0),
            protocol: port.protocol,
            app_protocol: port.app_protocol,
        });
        subsets.push(EndpointSubset {
            addresses: Some(ready).filter(|list| !list.is_empty()),
            not_ready_addresses: Some(not_ready).filter(|list| !list.is_empty()),
            ports: Some(ports.collect()),
        });
    }
    let mut metadata = existing.map(|existing| existing.metadata.clone()).unwrap_or_default();
    if existing.is_none() {
        let key = service.key();
        metadata = ObjectMeta {
            name: Some(key.name),
            namespace: Some(key.namespace),
            ..ObjectMeta::default()
        };
    }
    if over_capacity {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(OVER_CAPACITY);
    }
    metadata.labels = Some(labels(service));
    Endpoints { metadata, subsets: Some(subsets).filter(|subsets| !subsets.is_empty()) }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

fn address(endpoint: Endpoint) -> EndpointAddress {
    EndpointAddress {
        ip: endpoint.addresses.into_iter().next().unwrap_or_default(),
        hostname: endpoint.hostname,
        node_name: endpoint.node_name,
        target_ref: endpoint.target_ref,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(conditions: &[(bool, bool)]) -> Vec<Group> {
        let endpoint = |(at, (ready, terminating)): (usize, &(bool, bool))| {
            serde_json::from_value(json!({
                "addresses": [format!("10.0.0.{}", 9 - at)],
                "conditions": {"ready": ready, "terminating": terminating},
            }))
            .unwrap()
        };
        let endpoints = conditions.iter().enumerate().map(endpoint).collect();
        let ports = vec![serde_json::from_value(json!({"name": "", "port": 80})).unwrap()];
        vec![Group { address_type: "IPv4", ports, endpoints }]
    }

    #[test]
    fn ready_addresses_and_others_are_told_apart_and_sorted() {
        let service = Service::default();
        let groups = group(&[(true, false), (true, false), (false, false), (false, true)]);
        let endpoints = plan(&service, groups, None);
        let subset = &endpoints.subsets.as_ref().unwrap()[0];
        let ips = |list: &Option<Vec<EndpointAddress>>| {
            list.iter().flatten().map(|one| one.ip.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ips(&subset.addresses), ["10.0.0.8", "10.0.0.9"]);
        assert_eq!(ips(&subset.not_ready_addresses), ["10.0.0.7"]);
        assert!(is_same(
            &endpoints,
            &plan(
                &service,
                group(&[(true, false), (true, false), (false, false)]),
                Some(&endpoints)
            )
        ));
    }

    #[test]
    fn more_than_the_limit_is_cut_and_says_so() {
        let endpoints = plan(&Service::default(), group(&vec![(true, false); 1001]), None);
        let annotations = endpoints.metadata.annotations.unwrap();
        assert_eq!(annotations[OVER_CAPACITY], "truncated");
    }
}
