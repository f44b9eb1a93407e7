//! The cluster's zone: what a name means. Pure reads of the catalog.
// upstream: Kubernetes DNS-Based Service Discovery, schema 1.1.0

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnet::IpNet;

use crate::network::Protocol;
use crate::network::services::{Catalog, Endpoint, Service, ServiceKey, ServiceKind, Slice};

/// Seconds that an answer about the cluster may be kept.
pub(super) const TTL: u32 = 30;
/// Version of the schema that names follow.
const SCHEMA_VERSION: &str = "1.1.0";
/// Weight of every SRV record: all are equal.
const SRV_WEIGHT: u16 = 100;

/// The zone and where it reads.
pub(super) struct Zone {
    catalog: Arc<Catalog>,
    origin: Name,
    own_ranges: Vec<IpNet>,
    serial: u32,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// Records of the type, and addresses of the names in them.
    Records(Vec<Record>, Vec<Record>),
    /// Another name: the record, and where to go on.
    Alias(Box<Record>, Name),
    /// The name exists, the type does not.
    NoData,
    /// There is no such name.
    NoName,
    /// Somebody else knows.
    NotOurs,
}

impl Zone {
    pub(super) fn new(
        catalog: Arc<Catalog>,
        origin: Name,
        own_ranges: Vec<IpNet>,
        serial: u32,
    ) -> Self {
        Self { catalog, origin: origin.to_lowercase(), own_ranges, serial }
    }

    /// Whether the catalog has been filled: before that every answer about the cluster would be a lie.
    pub(super) fn is_ready(&self) -> bool {
        self.catalog.is_synced()
    }

    /// The start-of-authority record, which goes with every "no".
    pub(super) fn soa(&self) -> Record {
        let soa = SOA::new(
            self.below(&["ns", "dns"]),
            self.below(&["hostmaster"]),
            self.serial,
            7200,
            1800,
            86_400,
            TTL,
        );
        Record::from_rdata(self.origin.clone(), TTL, RData::SOA(soa))
    }

    /// What `name` means. Records carry the name as it was asked for.
    pub(super) fn lookup(&self, name: &Name, kind: RecordType) -> Answer {
        let lower = name.to_lowercase();
        if !self.origin.zone_of(&lower) {
            return self.reverse(name, &lower, kind);
        }
        let depth = usize::from(lower.num_labels() - self.origin.num_labels());
        let labels: Option<Vec<&str>> =
            lower.iter().take(depth).map(|label| std::str::from_utf8(label).ok()).collect();
        let Some(labels) = labels else { return Answer::NoName };
        let ask = Ask { zone: self, name, kind };
        match labels.as_slice() {
            [] => ask.origin(),
            ["dns-version"] => {
                ask.only(RecordType::TXT, RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()])))
            }
            ["dns" | "svc" | "pod"] | [_, "pod"] => Answer::NoData,
            ["ns", "dns"] => ask.service(&ServiceKey::new("kube-system", "kube-dns")),
            [namespace, "svc"] if self.catalog.has_namespace(namespace) => Answer::NoData,
            [service, namespace, "svc"] => ask.service(&ServiceKey::new(*namespace, *service)),
            [first, service, namespace, "svc"] => {
                ask.below_service(first, &ServiceKey::new(*namespace, *service))
            }
            [port, protocol, service, namespace, "svc"] => {
                ask.port(port, protocol, &ServiceKey::new(*namespace, *service))
            }
            [pod, _, "pod"] => ask.pod(pod),
            _ => Answer::NoName,
        }
    }

    fn reverse(&self, name: &Name, lower: &Name, kind: RecordType) -> Answer {
        let Ok(range) = lower.parse_arpa_name() else { return Answer::NotOurs };
        if range.prefix_len() != range.max_prefix_len() {
            return Answer::NotOurs;
        }
        let ip = range.addr();
        let mut targets = Vec::new();
        if let Some(key) = self.catalog.service_at(ip) {
            targets.push(self.service_name(&key));
        }
        for key in self.catalog.named_endpoint_at(ip) {
            targets.extend(self.endpoint_names(&key, ip));
        }
        match (targets.is_empty(), self.own_ranges.iter().any(|own| own.contains(&ip))) {
            (true, true) => Answer::NoName,
            (true, false) => Answer::NotOurs,
            _ if kind != RecordType::PTR => Answer::NoData,
            _ => {
                let record =
                    |target| Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target)));
                Answer::Records(targets.into_iter().map(record).collect(), Vec::new())
            }
        }
    }

    /// Names of the endpoints with a hostname at an address, under a headless Service.
    fn endpoint_names(&self, key: &ServiceKey, ip: IpAddr) -> Vec<Name> {
        let headless = self.catalog.service(key).is_some_and(|s| s.kind == ServiceKind::Headless);
        if !headless {
            return Vec::new();
        }
        let slices = self.catalog.slices(key);
        let names: BTreeSet<&str> = ready(&slices)
            .filter(|(_, endpoint)| endpoint.ip == ip)
            .filter_map(|(_, endpoint)| endpoint.hostname.as_deref())
            .collect();
        names.into_iter().map(|host| self.host_name(key, host)).collect()
    }

    fn service_name(&self, key: &ServiceKey) -> Name {
        self.below(&[&key.name, &key.namespace, "svc"])
    }

    fn host_name(&self, key: &ServiceKey, host: &str) -> Name {
        self.below(&[host, &key.name, &key.namespace, "svc"])
    }

    /// A name under the origin. Labels come from objects that the API server validated; should one
    /// not be a label after all, the origin is the answer.
    fn below(&self, labels: &[&str]) -> Name {
        let labels = labels.iter().map(|label| label.as_bytes()).chain(self.origin.iter());
        Name::from_labels(labels).unwrap_or_else(|_| self.origin.clone())
    }
}

/// One question.
struct Ask<'a> {
    zone: &'a Zone,
    name: &'a Name,
    kind: RecordType,
}

impl Ask<'_> {
    fn origin(&self) -> Answer {
        match self.kind {
            RecordType::SOA => Answer::Records(vec![self.zone.soa()], Vec::new()),
            _ => self.only(RecordType::NS, RData::NS(NS(self.zone.below(&["ns", "dns"])))),
        }
    }

    fn service(&self, key: &ServiceKey) -> Answer {
        let Some(service) = self.zone.catalog.service(key) else { return Answer::NoName };
        match &service.kind {
            ServiceKind::Addressed => self.addresses(service.cluster_ips.iter().copied()),
            ServiceKind::Headless => {
                let slices = self.zone.catalog.slices(key);
                self.addresses(ready(&slices).map(|(_, endpoint)| endpoint.ip))
            }
            ServiceKind::External(target) => self.alias(target),
        }
    }

    fn alias(&self, target: &str) -> Answer {
        let Ok(mut target) = Name::from_utf8(target) else { return Answer::NoName };
        target.set_fqdn(true);
        let record = self.record(RData::CNAME(CNAME(target.clone())));
        Answer::Alias(Box::new(record), target)
    }

    /// `HOST.SERVICE`, or `_PROTOCOL.SERVICE`, which exists as soon as a port below it does.
    fn below_service(&self, first: &str, key: &ServiceKey) -> Answer {
        let Some(service) = self.zone.catalog.service(key) else { return Answer::NoName };
        let slices = self.zone.catalog.slices(key);
        if let Some(protocol) = first.strip_prefix('_') {
            let names = port_names(&service, &slices);
            let known = names.iter().any(|(_, p)| p.lower() == protocol);
            return if known { Answer::NoData } else { Answer::NoName };
        }
        if service.kind != ServiceKind::Headless {
            return Answer::NoName;
        }
        let of_host = ready(&slices).filter(|(_, endpoint)| host_of(endpoint) == first);
        self.addresses(of_host.map(|(_, endpoint)| endpoint.ip))
    }

    /// `_PORT._PROTOCOL.SERVICE`.
    fn port(&self, port: &str, protocol: &str, key: &ServiceKey) -> Answer {
        let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol.strip_prefix('_'))
        else {
            return Answer::NoName;
        };
        let Some(service) = self.zone.catalog.service(key) else { return Answer::NoName };
        let found = match &service.kind {
            ServiceKind::Addressed => self.service_srv(key, &service, port, protocol),
            ServiceKind::Headless => self.endpoint_srv(key, port, protocol),
            ServiceKind::External(_) => return Answer::NoName,
        };
        match found {
            (records, _) if records.is_empty() => Answer::NoName,
            _ if self.kind != RecordType::SRV => Answer::NoData,
            (records, addresses) => Answer::Records(records, addresses),
        }
    }

    fn service_srv(
        &self,
        key: &ServiceKey,
        service: &Service,
        port: &str,
        protocol: &str,
    ) -> (Vec<Record>, Vec<Record>) {
        let target = self.zone.service_name(key);
        let wanted = service
            .ports
            .iter()
            .filter(|p| p.name == port && !port.is_empty() && p.protocol.lower() == protocol);
        let records = wanted.map(|p| self.srv(p.port, &target)).collect();
        (records, service.cluster_ips.iter().map(|ip| address(&target, *ip)).collect())
    }

    fn endpoint_srv(
        &self,
        key: &ServiceKey,
        port: &str,
        protocol: &str,
    ) -> (Vec<Record>, Vec<Record>) {
        let slices = self.zone.catalog.slices(key);
        let mut targets = BTreeSet::new();
        for (slice, endpoint) in ready(&slices) {
            let wanted = slice
                .ports
                .iter()
                .filter(|p| p.name == port && !port.is_empty() && p.protocol.lower() == protocol);
            targets.extend(wanted.map(|p| (host_of(endpoint), p.port, endpoint.ip)));
        }
        let pairs: BTreeSet<(&str, u16)> =
            targets.iter().map(|(h, p, _)| (h.as_str(), *p)).collect();
        let srv = |(host, port): (&str, u16)| self.srv(port, &self.zone.host_name(key, host));
        let addresses = targets.iter().map(|(h, _, ip)| address(&self.zone.host_name(key, h), *ip));
        (pairs.into_iter().map(srv).collect(), addresses.collect())
    }

    /// `1-2-3-4.NAMESPACE.pod`: the address in the name, whoever has it.
    fn pod(&self, label: &str) -> Answer {
        let v4 = label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
        let ip = v4.or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6));
        ip.map_or(Answer::NoName, |ip| self.addresses([ip].into_iter()))
    }

    /// Addresses of the asked-for family; no name at all when there is none of either.
    fn addresses(&self, ips: impl Iterator<Item = IpAddr>) -> Answer {
        let ips: BTreeSet<IpAddr> = ips.collect();
        if ips.is_empty() {
            return Answer::NoName;
        }
        let fitting = ips.into_iter().filter(|ip| match self.kind {
            RecordType::A => ip.is_ipv4(),
            RecordType::AAAA => ip.is_ipv6(),
            _ => false,
        });
        let records: Vec<Record> = fitting.map(|ip| address(self.name, ip)).collect();
        if records.is_empty() { Answer::NoData } else { Answer::Records(records, Vec::new()) }
    }

    fn only(&self, kind: RecordType, data: RData) -> Answer {
        if self.kind == kind {
            Answer::Records(vec![self.record(data)], Vec::new())
        } else {
            Answer::NoData
        }
    }

    fn srv(&self, port: u16, target: &Name) -> Record {
        self.record(RData::SRV(SRV::new(0, SRV_WEIGHT, port, target.clone())))
    }

    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.name.clone(), TTL, data)
    }
}

fn address(name: &Name, ip: IpAddr) -> Record {
    let data = match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    Record::from_rdata(name.clone(), TTL, data)
}

fn ready(slices: &[Arc<Slice>]) -> impl Iterator<Item = (&Slice, &Endpoint)> {
    slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (&**slice, endpoint)))
        .filter(|(_, endpoint)| endpoint.ready)
}

/// An endpoint's label under its Service: its hostname, else its address with dashes.
fn host_of(endpoint: &Endpoint) -> String {
    match &endpoint.hostname {
        Some(name) => name.to_lowercase(),
        None => endpoint.ip.to_string().replace(['.', ':'], "-"),
    }
}

/// Named ports that lead somewhere.
fn port_names(service: &Service, slices: &[Arc<Slice>]) -> Vec<(String, Protocol)> {
    let own = service.ports.iter().map(|p| (p.name.clone(), p.protocol));
    let all: Vec<(String, Protocol)> = match service.kind {
        ServiceKind::Addressed => own.collect(),
        ServiceKind::Headless => ready(slices)
            .flat_map(|(slice, _)| slice.ports.iter().map(|p| (p.name.clone(), p.protocol)))
            .collect(),
        ServiceKind::External(_) => Vec::new(),
    };
    all.into_iter().filter(|(name, _)| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn zone() -> Zone {
        let catalog = Catalog::new();
        let services = [
            json!({"metadata": {"namespace": "default", "name": "web"},
                   "spec": {"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00:96::5"],
                            "ports": [{"port": 80, "name": "http"}, {"port": 81, "protocol": "UDP", "name": "u"}]}}),
            json!({"metadata": {"namespace": "default", "name": "db"},
                   "spec": {"clusterIP": "None", "ports": [{"port": 5432, "name": "sql"}]}}),
            json!({"metadata": {"namespace": "default", "name": "empty"}, "spec": {"clusterIP": "None"}}),
            json!({"metadata": {"namespace": "other", "name": "ext"},
                   "spec": {"type": "ExternalName", "externalName": "www.example.org"}}),
            json!({"metadata": {"namespace": "kube-system", "name": "kube-dns"},
                   "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 53, "protocol": "UDP"}]}}),
        ];
        for service in services {
            catalog.apply_service(&serde_json::from_value(service).unwrap());
        }
        catalog.apply_slice(
            &serde_json::from_value(json!({
                "metadata": {"namespace": "default", "name": "db-1",
                             "labels": {"kubernetes.io/service-name": "db"}},
                "addressType": "IPv4",
                "ports": [{"port": 5432, "name": "sql"}],
                "endpoints": [
                    {"addresses": ["10.1.0.2"], "hostname": "db-0"},
                    {"addresses": ["10.1.0.3"]},
                    {"addresses": ["10.1.0.4"], "hostname": "db-2", "conditions": {"ready": false}}
                ]
            }))
            .unwrap(),
        );
        let origin = Name::from_ascii("cluster.local.").unwrap();
        Zone::new(catalog, origin, vec!["10.96.0.0/16".parse().unwrap()], 1)
    }

    fn check(questions: &[(&str, &str, &str)]) {
        let zone = zone();
        for (name, kind, want) in questions {
            let name_ = Name::from_ascii(name).unwrap();
            let got = match zone.lookup(&name_, kind.parse().unwrap()) {
                Answer::Records(records, more) => {
                    let text = |list: &[Record]| {
                        list.iter().map(|r| r.data.to_string()).collect::<Vec<_>>().join(", ")
                    };
                    assert!(records.iter().all(|r| r.name == name_ || r.name == zone.origin));
                    let plus = if more.is_empty() { "" } else { " + " };
                    format!("{}{plus}{}", text(&records), text(&more))
                }
                Answer::Alias(_, target) => format!("-> {target}"),
                Answer::NoData => "nodata".into(),
                Answer::NoName => "noname".into(),
                Answer::NotOurs => "notours".into(),
            };
            assert_eq!(got, *want, "{name} {kind}");
        }
    }

    #[test]
    fn services_have_addresses_of_their_families() {
        check(&[
            ("web.default.svc.cluster.local.", "A", "10.96.0.5"),
            ("WEB.Default.SVC.cluster.LOCAL.", "A", "10.96.0.5"),
            ("web.default.svc.cluster.local.", "AAAA", "fd00:96::5"),
            ("kube-dns.kube-system.svc.cluster.local.", "AAAA", "nodata"),
            ("web.default.svc.cluster.local.", "MX", "nodata"),
            ("web.other.svc.cluster.local.", "A", "noname"),
            ("x.web.default.svc.cluster.local.", "A", "noname"),
            ("ns.dns.cluster.local.", "A", "10.96.0.10"),
        ]);
    }

    #[test]
    fn headless_services_have_their_ready_endpoints() {
        check(&[
            ("db.default.svc.cluster.local.", "A", "10.1.0.2, 10.1.0.3"),
            ("db.default.svc.cluster.local.", "AAAA", "nodata"),
            ("db-0.db.default.svc.cluster.local.", "A", "10.1.0.2"),
            ("10-1-0-3.db.default.svc.cluster.local.", "A", "10.1.0.3"),
            ("db-2.db.default.svc.cluster.local.", "A", "noname"),
            ("empty.default.svc.cluster.local.", "A", "noname"),
        ]);
    }

    #[test]
    fn named_ports_have_service_records() {
        check(&[
            (
                "_http._tcp.web.default.svc.cluster.local.",
                "SRV",
                "0 100 80 web.default.svc.cluster.local. + 10.96.0.5, fd00:96::5",
            ),
            ("_http._udp.web.default.svc.cluster.local.", "SRV", "noname"),
            ("_http._tcp.web.default.svc.cluster.local.", "A", "nodata"),
            ("_tcp.web.default.svc.cluster.local.", "SRV", "nodata"),
            (
                "_sql._tcp.db.default.svc.cluster.local.",
                "SRV",
                "0 100 5432 10-1-0-3.db.default.svc.cluster.local., \
                 0 100 5432 db-0.db.default.svc.cluster.local. + 10.1.0.3, 10.1.0.2",
            ),
        ]);
    }

    #[test]
    fn addresses_have_names() {
        check(&[
            ("5.0.96.10.in-addr.arpa.", "PTR", "web.default.svc.cluster.local."),
            ("2.0.1.10.in-addr.arpa.", "PTR", "db-0.db.default.svc.cluster.local."),
            ("3.0.1.10.in-addr.arpa.", "PTR", "notours"),
            ("6.0.96.10.in-addr.arpa.", "PTR", "noname"),
            ("5.0.96.10.in-addr.arpa.", "A", "nodata"),
            (
                "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.",
                "PTR",
                "web.default.svc.cluster.local.",
            ),
        ]);
    }

    #[test]
    fn the_rest_of_the_zone() {
        check(&[
            ("ext.other.svc.cluster.local.", "A", "-> www.example.org."),
            ("10-1-2-3.default.pod.cluster.local.", "A", "10.1.2.3"),
            ("fd00--3.default.pod.cluster.local.", "AAAA", "fd00::3"),
            ("x.default.pod.cluster.local.", "A", "noname"),
            ("dns-version.cluster.local.", "TXT", "1.1.0"),
            ("cluster.local.", "NS", "ns.dns.cluster.local."),
            ("default.svc.cluster.local.", "A", "nodata"),
            ("nowhere.svc.cluster.local.", "A", "noname"),
            ("svc.cluster.local.", "A", "nodata"),
            ("x.cluster.local.", "A", "noname"),
            ("www.example.org.", "A", "notours"),
            ("xcluster.local.", "A", "notours"),
        ]);
    }
}
