//! Fits endpoints into slices with as few writes as possible: what a slice holds stays in it, room
//! is filled first in slices that are written anyway.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_controller_runtime::Watched;

use super::endpoints::{Group, MANAGED_BY, MANAGER, SERVICE_NAME, is_headless};
use crate::claim::controller_reference;

const HEADLESS: &str = "service.kubernetes.io/headless";

/// Slices to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// Compares the slices that are with the endpoints that are wanted.
pub(super) fn plan(
    service: &Service,
    desired: Vec<Group>,
    existing: &[Arc<EndpointSlice>],
    per_slice: usize,
) -> Plan {
    let mut plan = Plan::default();
    let mut rest: Vec<&Arc<EndpointSlice>> = existing.iter().collect();
    for group in desired {
        let fits = |slice: &&Arc<EndpointSlice>| {
            slice.address_type == group.address_type && same_ports(slice, &group.ports)
        };
        let (mine, others) = rest.into_iter().partition(fits);
        rest = others;
        fill(service, group, mine, per_slice, &mut plan);
    }
    plan.delete.extend(rest.into_iter().cloned());
    plan
}

fn same_ports(slice: &EndpointSlice, ports: &[EndpointPort]) -> bool {
    let key = |port: &EndpointPort| {
        (
            port.name.clone().unwrap_or_default(),
            port.port,
            port.protocol.clone(),
            port.app_protocol.clone(),
        )
    };
    let mut mine: Vec<_> = slice.ports.iter().flatten().map(key).collect();
    let mut wanted: Vec<_> = ports.iter().map(key).collect();
    mine.sort();
    wanted.sort();
    mine == wanted
}

/// An existing slice with what is to be in it.
struct Draft<'a> {
    slice: &'a Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

fn fill(
    service: &Service,
    group: Group,
    mine: Vec<&Arc<EndpointSlice>>,
    per_slice: usize,
    plan: &mut Plan,
) {
    let mut wanted: BTreeMap<String, Endpoint> =
        group.endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut drafts: Vec<Draft<'_>> = mine
        .into_iter()
        .map(|slice| {
            let old = slice.endpoints.as_deref().unwrap_or(&[]);
            let kept = old.iter().filter_map(|one| wanted.remove(&identity(one)));
            let mut endpoints: Vec<Endpoint> = kept.collect();
            // Hints are somebody else's to give.
            for (new, old) in endpoints.iter_mut().zip(old) {
                if identity(new) == identity(old) {
                    new.hints = old.hints.clone();
                }
            }
            let changed = endpoints != old || slice.metadata.labels != Some(labels(service));
            Draft { slice, endpoints, changed }
        })
        .collect();
    let mut new: VecDeque<Endpoint> = wanted.into_values().collect();
    // Slices that are written anyway first, then the fullest ones that have room.
    drafts.sort_by_key(|draft| (!draft.changed, usize::MAX - draft.endpoints.len()));
    for draft in &mut drafts {
        let room = per_slice.saturating_sub(draft.endpoints.len()).min(new.len());
        draft.changed |= room > 0;
        draft.endpoints.extend(new.drain(..room));
    }
    let mut kept = 0;
    let last = drafts.len();
    for (at, draft) in drafts.into_iter().enumerate() {
        let spare = draft.endpoints.is_empty() && (kept > 0 || !new.is_empty() || at + 1 < last);
        if spare {
            plan.delete.push(draft.slice.clone());
            continue;
        }
        kept += 1;
        if draft.changed {
            let mut slice = EndpointSlice::clone(draft.slice);
            slice.endpoints = Some(draft.endpoints);
            slice.metadata.labels = Some(labels(service));
            plan.update.push(slice);
        }
    }
    while !new.is_empty() || kept == 0 {
        let endpoints = new.drain(..new.len().min(per_slice)).collect();
        plan.create.push(new_slice(service, group.address_type, group.ports.clone(), endpoints));
        kept += 1;
    }
}

/// What makes an endpoint the same as before: its pod and address.
fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref();
    let uid = target.and_then(|target| target.uid.as_deref()).unwrap_or("");
    format!("{uid}/{}", endpoint.addresses.join(","))
}

fn new_slice(
    service: &Service,
    address_type: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let key = service.key();
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", key.name)),
            namespace: Some(key.namespace),
            labels: Some(labels(service)),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: address_type.to_owned(),
        ports: Some(ports),
        endpoints: Some(endpoints),
    }
}

/// A slice's labels: the service's, and those that say whose and what it is.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), service.key().name);
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "uid": "s", "labels": {"app": "a"}},
        }))
        .unwrap()
    }

    fn group(addresses: std::ops::Range<u32>) -> Vec<Group> {
        let endpoint = |at| {
            let endpoint = json!({
                "addresses": [format!("10.0.0.{at}")], "targetRef": {"uid": format!("{at:03}")},
            });
            serde_json::from_value(endpoint).unwrap()
        };
        let ports = vec![serde_json::from_value(json!({"name": "", "port": 80})).unwrap()];
        vec![Group { address_type: "IPv4", ports, endpoints: addresses.map(endpoint).collect() }]
    }

    fn counts(plan: &Plan) -> (usize, usize, usize) {
        (plan.create.len(), plan.update.len(), plan.delete.len())
    }

    fn created(plan: Plan) -> Vec<Arc<EndpointSlice>> {
        let named = |(at, mut slice): (usize, EndpointSlice)| {
            slice.metadata.name = Some(format!("s-{at}"));
            Arc::new(slice)
        };
        plan.create.into_iter().enumerate().map(named).collect()
    }

    #[test]
    fn endpoints_are_spread_over_slices_and_stay_there() {
        let first = plan(&service(), group(0..25), &[], 10);
        assert_eq!(counts(&first), (3, 0, 0));
        let slices = created(first);
        assert_eq!(counts(&plan(&service(), group(0..25), &slices, 10)), (0, 0, 0));
        // One more goes where there is room.
        let more = plan(&service(), group(0..26), &slices, 10);
        assert_eq!(counts(&more), (0, 1, 0));
        assert_eq!(more.update[0].metadata.name.as_deref(), Some("s-2"));
        // The first slice's endpoints go: it goes too.
        assert_eq!(counts(&plan(&service(), group(10..25), &slices, 10)), (0, 0, 1));
    }

    #[test]
    fn a_service_without_endpoints_keeps_one_slice() {
        let empty = || vec![Group { address_type: "IPv4", ports: vec![], endpoints: vec![] }];
        let placeholder = plan(&service(), empty(), &[], 10);
        assert_eq!(counts(&placeholder), (1, 0, 0));
        let slices = created(placeholder);
        assert_eq!(counts(&plan(&service(), empty(), &slices, 10)), (0, 0, 0));
        assert_eq!(counts(&plan(&service(), group(0..1), &slices, 10)), (1, 0, 1));
    }

    #[test]
    fn a_label_of_the_service_is_one_of_its_slices() {
        let slices = created(plan(&service(), group(0..1), &[], 10));
        let mut renamed = service();
        renamed.metadata.labels.as_mut().unwrap().insert("tier".into(), "web".into());
        let plan = plan(&renamed, group(0..1), &slices, 10);
        assert_eq!(plan.update[0].metadata.labels.as_ref().unwrap()["tier"], "web");
    }
}
