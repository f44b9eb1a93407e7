//! The endpoints that a service's pods amount to, by address family and ports.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use keelson_controller_runtime::Watched;

use crate::objects::{Container, Pod};

/// Label of a slice: the service that it belongs to.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of a slice: who keeps it.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who keeps slices here.
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";

/// Endpoints with the same address family and ports.
#[derive(Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) address_type: &'static str,
    pub(crate) ports: Vec<EndpointPort>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// True if the slice is kept by this controller.
pub(super) fn is_ours(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGER)
}

/// The labels that a service's pods have, if it selects any.
pub(crate) fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

/// True if the pod has the labels.
pub(crate) fn selects(selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
}

/// True if the service has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// All endpoints of a service: a group for each set of ports that its pods resolve to.
pub(crate) fn desired<'a>(
    service: &Service,
    pods: impl Iterator<Item = &'a Pod>,
    zone: &dyn Fn(&str) -> Option<String>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let types = address_types(service);
    for pod in pods.filter(|pod| !pod.is_terminal()) {
        let ports = resolve_ports(service, pod);
        // A pod that has none of the ports is no endpoint, unless there are none to have.
        if ports.is_empty() && !(is_headless(service) && service_ports(service).is_empty()) {
            continue;
        }
        for address_type in &types {
            let family = |address: &&str| address.contains(':') == (*address_type == "IPv6");
            let Some(address) = pod.addresses().into_iter().find(family) else { continue };
            let endpoint = endpoint(service, pod, address, zone);
            let group = groups
                .iter_mut()
                .find(|group| group.address_type == *address_type && group.ports == ports);
            match group {
                Some(group) => group.endpoints.push(endpoint),
                None => groups.push(Group {
                    address_type,
                    ports: ports.clone(),
                    endpoints: vec![endpoint],
                }),
            }
        }
    }
    // Each family has at least one group, so that a service without pods has a slice too.
    for address_type in types {
        if !groups.iter().any(|group| group.address_type == address_type) {
            groups.push(Group { address_type, ports: Vec::new(), endpoints: Vec::new() });
        }
    }
    groups
}

fn address_types(service: &Service) -> Vec<&'static str> {
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.as_ref());
    let types = families.iter().flat_map(|families| families.iter());
    let types: Vec<&str> =
        types.map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" }).collect();
    if !types.is_empty() {
        return types;
    }
    let address = spec.and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or("");
    vec![if address.contains(':') { "IPv6" } else { "IPv4" }]
}

fn service_ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or(&[])
}

fn resolve_ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let resolve = |port: &ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target_port(port, pod)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    service_ports(service).iter().filter_map(resolve).collect()
}

/// The number of a port on a pod: given, or that of a named container port.
fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let sidecar =
                |container: &&Container| container.restart_policy.as_deref() == Some("Always");
            let sidecars = pod.spec.init_containers.iter().flatten().filter(sidecar);
            let containers = pod.spec.containers.iter().chain(sidecars);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            ports
                .find(|one| {
                    one.name.as_ref() == Some(name)
                        && one.protocol.as_deref().unwrap_or("TCP") == protocol
                })
                .map(|one| one.container_port)
        }
    }
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    address: &str,
    zone: &dyn Fn(&str) -> Option<String>,
) -> Endpoint {
    let spec = service.spec.as_ref();
    let publish = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let (serving, terminating) = (pod.is_ready(), pod.is_deleting());
    let key = pod.key();
    let named = pod.spec.subdomain.as_deref() == Some(&service.key().name);
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: pod.spec.hostname.clone().filter(|name| named && !name.is_empty()),
        node_name: pod.spec.node_name.clone(),
        zone: pod.spec.node_name.as_deref().and_then(zone),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(key.namespace),
            name: Some(key.name),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(address: &str, status: Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": address, "namespace": "n", "uid": address},
            "spec": {"nodeName": "node", "containers": [
                {"ports": [{"name": "web", "containerPort": 8080}]},
            ]},
            "status": status,
        });
        pod["status"]["podIPs"] = json!([{"ip": address}]);
        serde_json::from_value(pod).unwrap()
    }

    fn ready() -> Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    }

    fn service(spec: Value) -> Service {
        let meta = json!({"name": "s", "namespace": "n"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn groups(service: &Service, pods: &[Pod]) -> Vec<Group> {
        desired(service, pods.iter(), &|_| Some("z".to_owned()))
    }

    #[test]
    fn an_endpoint_says_whether_it_is_ready_serving_and_terminating() {
        let service = service(json!({"ports": [{"port": 80, "targetPort": "web"}]}));
        let mut leaving = pod("10.0.0.3", ready());
        leaving.metadata.deletion_timestamp = Some(keelson_controller_runtime::now());
        let pods = [
            pod("10.0.0.1", ready()),
            pod("10.0.0.2", json!({"phase": "Pending"})),
            leaving,
            pod("10.0.0.4", json!({"phase": "Succeeded"})),
        ];
        let groups = groups(&service, &pods);
        assert_eq!((groups.len(), groups[0].ports[0].port), (1, Some(8080)));
        let conditions: Vec<_> = groups[0]
            .endpoints
            .iter()
            .map(|one| one.conditions.clone().unwrap())
            .map(|one| (one.ready.unwrap(), one.serving.unwrap(), one.terminating.unwrap()))
            .collect();
        let wanted = [(true, true, false), (false, false, false), (false, true, true)];
        assert_eq!(conditions, wanted);
    }

    #[test]
    fn pods_that_resolve_a_name_differently_are_in_different_groups() {
        let service = service(json!({"ports": [{"port": 80, "targetPort": "web"}]}));
        let mut other = pod("10.0.0.2", ready());
        other.spec.containers[0].ports.as_mut().unwrap()[0].container_port = 9090;
        let mut without = pod("10.0.0.3", ready());
        without.spec.containers[0].ports = None;
        assert_eq!(groups(&service, &[pod("10.0.0.1", ready()), other, without]).len(), 2);
    }

    #[test]
    fn each_address_family_has_its_own_group() {
        let service = service(json!({
            "ipFamilies": ["IPv4", "IPv6"], "ports": [{"port": 80}],
        }));
        let mut pod = pod("10.0.0.1", ready());
        let second = serde_json::from_value(json!({"ip": "fd00::1"})).unwrap();
        pod.status.pod_ips.as_mut().unwrap().push(second);
        let groups = groups(&service, &[pod]);
        let types: Vec<_> = groups.iter().map(|group| group.address_type).collect();
        assert_eq!(types, ["IPv4", "IPv6"]);
        assert_eq!(groups[1].endpoints[0].addresses, ["fd00::1"]);
    }

    #[test]
    fn a_headless_service_without_ports_still_has_endpoints() {
        let headless = service(json!({"clusterIP": "None"}));
        assert_eq!(groups(&headless, &[pod("10.0.0.1", ready())])[0].endpoints.len(), 1);
    }
}
