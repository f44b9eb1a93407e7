//! Services and EndpointSlices cut down to what proxy and DNS read. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use crate::network::Protocol;

/// Seconds that ClientIP affinity lasts unless the Service says otherwise.
// upstream: Service v1, "sessionAffinityConfig.clientIP.timeoutSeconds"
const AFFINITY_SECONDS_DEFAULT: u32 = 10_800;

/// Label that names the Service of an EndpointSlice.
pub(super) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Label of Services that another proxy than the node's own takes care of.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// Namespace and name of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// What a Service is to its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Has addresses of its own.
    Addressed,
    /// `clusterIP: None`: the endpoints are the answer.
    Headless,
    /// `type: ExternalName`: another DNS name is the answer.
    External(String),
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is to its clients.
    pub kind: ServiceKind,
    /// Cluster addresses, primary family first.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses from outside that lead here: `externalIPs` and the load balancer's.
    pub external_ips: Vec<IpAddr>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// How long a client stays with its endpoint; `None` without session affinity.
    pub affinity_seconds: Option<u32>,
    /// Traffic from inside goes to this node's endpoints only.
    pub internal_local: bool,
    /// Traffic from outside goes to this node's endpoints only and keeps the client's address.
    pub external_local: bool,
    /// Another proxy takes care of it.
    pub proxied_elsewhere: bool,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty for the only port of a Service.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The port of the Service.
    pub port: u16,
    /// The port on every node.
    pub node_port: Option<u16>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Ports that every endpoint of it has.
    pub ports: Vec<SlicePort>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of the endpoints in a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port that it belongs to.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The endpoints' port.
    pub port: u16,
}

/// One address behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address; of more than one in the object, the first, as upstream.
    pub ip: IpAddr,
    /// Its name under a headless Service.
    pub hostname: Option<String>,
    /// The node that it is on.
    pub node: Option<String>,
    /// Takes new traffic.
    pub ready: bool,
    /// Answers, whether or not it is going away.
    pub serving: bool,
    /// Is going away.
    pub terminating: bool,
}

impl std::fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl ServiceKey {
    /// The key of a Service.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl Service {
    /// Cuts a Service down.
    pub fn from_object(object: &core::Service) -> Self {
        let empty = core::ServiceSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let kind_name = spec.type_.as_deref().unwrap_or("ClusterIP");
        let first_ip = spec.cluster_ip.as_deref().unwrap_or_default();
        let kind = match (kind_name, first_ip) {
            ("ExternalName", _) => {
                ServiceKind::External(spec.external_name.clone().unwrap_or_default())
            }
            (_, "None") => ServiceKind::Headless,
            _ => ServiceKind::Addressed,
        };
        let is_addressed = kind == ServiceKind::Addressed;
        let mut cluster_ips = addresses(spec.cluster_ips.iter().flatten());
        if cluster_ips.is_empty() {
            cluster_ips = addresses([first_ip.to_owned()].iter());
        }
        let mut external_ips = addresses(spec.external_ips.iter().flatten());
        if kind_name == "LoadBalancer" {
            external_ips.extend(
                balancer_ips(object).filter(|ip| !external_ips.contains(ip)).collect::<Vec<_>>(),
            );
        }
        let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
        Self {
            kind,
            cluster_ips: if is_addressed { cluster_ips } else { Vec::new() },
            external_ips: if is_addressed { external_ips } else { Vec::new() },
            ports: spec.ports.iter().flatten().filter_map(service_port).collect(),
            affinity_seconds: sticky.then(|| affinity_seconds(spec)),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            proxied_elsewhere: object
                .metadata
                .labels
                .as_ref()
                .is_some_and(|labels| labels.contains_key(PROXY_NAME_LABEL)),
        }
    }
}

impl Slice {
    /// Cuts an EndpointSlice down; `None` for one of names instead of addresses.
    pub fn from_object(object: &discovery::EndpointSlice) -> Option<Self> {
        let is_v6 = match object.address_type.as_str() {
            "IPv4" => false,
            "IPv6" => true,
            _ => return None,
        };
        let endpoints = object.endpoints.iter().flatten().filter_map(endpoint);
        Some(Self {
            ports: object.ports.iter().flatten().filter_map(slice_port).collect(),
            endpoints: endpoints.filter(|endpoint| endpoint.ip.is_ipv6() == is_v6).collect(),
        })
    }
}

/// The Service that a slice belongs to.
pub(super) fn service_of(object: &discovery::EndpointSlice) -> Option<ServiceKey> {
    let labels = object.metadata.labels.as_ref()?;
    let name = labels.get(SERVICE_NAME_LABEL).filter(|name| !name.is_empty())?;
    Some(ServiceKey::new(object.metadata.namespace.clone()?, name.clone()))
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn balancer_ips(object: &core::Service) -> impl Iterator<Item = IpAddr> + '_ {
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    ingress
        .filter(|entry| entry.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|entry| entry.ip.as_ref()?.parse().ok())
}

fn affinity_seconds(spec: &core::ServiceSpec) -> u32 {
    let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let seconds = config.and_then(|c| c.timeout_seconds).and_then(|s| u32::try_from(s).ok());
    seconds.filter(|s| *s > 0).unwrap_or(AFFINITY_SECONDS_DEFAULT)
}

fn service_port(port: &core::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.clone().unwrap_or_default(),
        protocol: Protocol::parse(port.protocol.as_deref().unwrap_or_default())?,
        port: u16::try_from(port.port).ok()?,
        node_port: port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0),
    })
}

fn slice_port(port: &discovery::EndpointPort) -> Option<SlicePort> {
    Some(SlicePort {
        name: port.name.clone().unwrap_or_default(),
        protocol: Protocol::parse(port.protocol.as_deref().unwrap_or_default())?,
        port: u16::try_from(port.port?).ok()?,
    })
}

fn endpoint(endpoint: &discovery::Endpoint) -> Option<Endpoint> {
    let conditions = endpoint.conditions.as_ref();
    // upstream: EndpointSlice v1, "conditions": a missing ready means ready, a missing serving what
    // ready says.
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    Some(Endpoint {
        ip: endpoint.addresses.first()?.parse().ok()?,
        hostname: endpoint.hostname.clone().filter(|name| !name.is_empty()),
        node: endpoint.node_name.clone(),
        ready,
        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
    })
}
