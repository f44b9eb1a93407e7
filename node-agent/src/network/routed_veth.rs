//! The built-in pod network: one routed veth pair a pod.

use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::api::{PodNetwork, PodNetworkError, PodNetworkRequest, PodNetworkStatus};
use super::config::NetworkConfig;
use super::ipam::{Exhausted, Ipam, node_address};
use super::netlink::{Netlink, NodeRoute, VethPair};
use super::nft::Nft;
use super::pod_rules;
use super::records::{HostRecord, PodRecord, Records};
use super::sysctl;

/// The pod's end of its link.
const POD_LINK: &str = "eth0";
/// Hardware address of the host's end of every pod link; the gateway is a permanent neighbour with it.
const HOST_MAC: [u8; 6] = [0xee; 6];
/// Where pods send everything. No link has these addresses; they only name `HOST_MAC`.
const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY_V6: IpAddr =
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee));

/// Connects pods by routed veth pairs. Cheap to clone; all clones are one network.
#[derive(Clone)]
pub struct RoutedVeth {
    shared: Arc<Shared>,
}

struct Shared {
    config: NetworkConfig,
    host: Netlink,
    nft: Nft,
    records: Records,
    mtu: u32,
    state: Mutex<State>,
    /// Changes of the pod table, of ranges and of routes go one after another.
    rules: tokio::sync::Mutex<BTreeSet<NodeRoute>>,
}

#[derive(Default)]
struct State {
    ipam: Ipam,
    pods: BTreeMap<String, PodRecord>,
}

impl RoutedVeth {
    /// Prepares the host and adopts what an earlier process left: records, links, addresses.
    /// Needs root; call it inside a tokio runtime, in the host's network namespace.
    pub fn start(config: NetworkConfig) -> BoxFuture<'static, Result<Self, PodNetworkError>> {
        Box::pin(async move {
            assert!(
                (1..=NetworkConfig::LINK_PREFIX_LEN_MAX).contains(&config.link_prefix.len()),
                "link prefix {:?} must have one to four letters",
                config.link_prefix
            );
            let records = Records::open(&config.state_dir)?;
            let host = Netlink::here()?;
            let mtu = match config.mtu {
                Some(mtu) => mtu,
                None => host.default_mtu().await?,
            };
            let mut state = State::default();
            for record in records.load_pods()? {
                state.ipam.adopt(&record.sandbox_id, &record.ips);
                state.pods.insert(record.sandbox_id.clone(), record);
            }
            // A node that does not know its ranges yet goes on with those that it had.
            let ranges = if config.pod_ranges.is_empty() {
                records.load_host()?.unwrap_or_default().pod_ranges
            } else {
                config.pod_ranges.clone()
            };
            let shared = Shared {
                config,
                host,
                nft: Nft,
                records,
                mtu,
                state: Mutex::new(state),
                rules: tokio::sync::Mutex::default(),
            };
            let network = Self { shared: Arc::new(shared) };
            network.remove_unknown_links().await?;
            network.set_pod_ranges(&ranges).await?;
            Ok(network)
        })
    }

    /// Sets the node's pod ranges, once they are known or when they change. Pods that run keep their
    /// addresses.
    pub async fn set_pod_ranges(&self, ranges: &[IpNet]) -> Result<(), PodNetworkError> {
        let shared = &self.shared;
        let rules = shared.rules.lock().await;
        shared.state.lock().ipam.set_ranges(ranges);
        sysctl::enable_forwarding(ranges.iter().any(|range| range.addr().is_ipv6()))?;
        let record = HostRecord {
            version: HostRecord::VERSION,
            tables: vec![shared.config.table.clone()],
            link_prefix: shared.config.link_prefix.clone(),
            pod_ranges: ranges.to_vec(),
            node_addresses: ranges.iter().map(node_address).collect(),
            routes: ranges.to_vec(),
        };
        let before = shared.records.load_host()?.unwrap_or_default();
        // Written first and naming both, so that a crash in between leaves nothing unnamed.
        shared.records.save_host(&union(&before, &record))?;
        shared.apply_host(&before, &record).await?;
        shared.records.save_host(&union(&record, &routes_record(&rules)))?;
        shared.nft.apply(&shared.table()).await?;
        Ok(())
    }

    /// The node's own addresses in its pod ranges: pods reach the node there, and nobody outside does.
    pub fn node_addresses(&self) -> Vec<IpAddr> {
        self.shared.state.lock().ipam.ranges().iter().map(node_address).collect()
    }

    /// Sets the routes to all other nodes' pods; routes that are not named any more go away.
    pub async fn set_node_routes(&self, routes: &[NodeRoute]) -> Result<(), PodNetworkError> {
        let shared = &self.shared;
        let mut rules = shared.rules.lock().await;
        let wanted: BTreeSet<NodeRoute> = routes.iter().cloned().collect();
        let mut record = shared.records.load_host()?.unwrap_or_default();
        record = union(&record, &routes_record(&wanted));
        shared.records.save_host(&record)?;
        for gone in rules.iter().filter(|old| !wanted.iter().any(|new| new.range == old.range)) {
            shared.host.delete_node_route(gone.range).await?;
            record.routes.retain(|range| *range != gone.range);
        }
        for route in wanted.difference(&rules) {
            shared.host.add_node_route(route).await?;
        }
        *rules = wanted;
        shared.records.save_host(&record)
    }

    /// Removes pod links that no record names: their sandbox died together with an earlier process.
    async fn remove_unknown_links(&self) -> Result<(), PodNetworkError> {
        let shared = &self.shared;
        let known: BTreeSet<String> =
            shared.state.lock().pods.values().map(|pod| pod.link.clone()).collect();
        for name in shared.host.link_names().await? {
            if is_pod_link(&shared.config.link_prefix, &name) && !known.contains(&name) {
                tracing::info!(link = name, "removing a pod link that no record names");
                shared.host.delete_link(&name).await?;
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Gives the host what the ranges need and takes back what earlier ranges needed.
    async fn apply_host(&self, old: &HostRecord, new: &HostRecord) -> Result<(), PodNetworkError> {
        let Some(loopback) = self.host.link_index("lo").await? else { return Ok(()) };
        self.host.set_up(loopback).await?;
        for ip in old.node_addresses.iter().filter(|ip| !new.node_addresses.contains(ip)) {
            self.host.delete_address(loopback, *ip).await?;
            let gone = old.routes.iter().filter(|range| node_address(range) == *ip);
            for range in gone {
                self.host.delete_unreachable(*range).await?;
            }
        }
        for ip in &new.node_addresses {
            self.host.add_address(loopback, *ip).await?;
        }
        for range in &new.routes {
            self.host.add_unreachable(*range).await?;
        }
        Ok(())
    }

    fn table(&self) -> String {
        let state = self.state.lock();
        let pods: Vec<PodRecord> = state.pods.values().cloned().collect();
        let NetworkConfig { table, link_prefix, cluster_ranges, .. } = &self.config;
        pod_rules::whole_table(table, link_prefix, &state.ipam.ranges(), cluster_ranges, &pods)
    }

    /// Takes addresses for a sandbox, or finds the ones that it has, and writes them down.
    fn reserve(&self, request: &PodNetworkRequest) -> Result<PodRecord, PodNetworkError> {
        let mut state = self.state.lock();
        let known = state.pods.get(&request.sandbox_id).map(|pod| pod.ips.clone());
        let ips = match known {
            Some(ips) => ips,
            None => state.ipam.allocate(&request.sandbox_id).map_err(|Exhausted(range)| {
                PodNetworkError::Exhausted { range: range.to_string() }
            })?,
        };
        if ips.is_empty() {
            return Err(PodNetworkError::NoRange);
        }
        let record = PodRecord {
            version: PodRecord::VERSION,
            sandbox_id: request.sandbox_id.clone(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            uid: request.uid.clone(),
            netns_path: request.netns_path.clone(),
            link: pod_link_name(&self.config.link_prefix, &request.sandbox_id),
            ips,
            host_ports: request.host_ports.clone(),
        };
        if let Err(error) = self.records.save_pod(&record) {
            if !state.pods.contains_key(&request.sandbox_id) {
                state.ipam.release(&request.sandbox_id);
            }
            return Err(error);
        }
        state.pods.insert(request.sandbox_id.clone(), record.clone());
        Ok(record)
    }

    /// Makes the link and both namespaces' view of it. What an earlier try left is replaced.
    async fn connect(&self, record: &PodRecord) -> Result<(), PodNetworkError> {
        self.host.delete_link(&record.link).await?;
        let (pod, namespace) = Netlink::in_namespace(&record.netns_path).await?;
        let pair = VethPair {
            host_name: &record.link,
            host_mac: HOST_MAC,
            pod_name: POD_LINK,
            pod_mac: pod_mac(record.ips[0]),
            mtu: self.mtu,
        };
        let host_link = self.host.add_veth(&pair, &namespace).await?;
        sysctl::prepare_link(&record.link)?;
        self.host.set_up(host_link).await?;
        if let Some(loopback) = pod.link_index("lo").await? {
            pod.set_up(loopback).await?;
        }
        let pod_link = pod.link_index(POD_LINK).await?.ok_or(PodNetworkError::Netlink {
            what: "find the pod's link",
            detail: format!("{POD_LINK} is not in {}", record.netns_path.display()),
        })?;
        pod.set_up(pod_link).await?;
        for ip in &record.ips {
            let gateway = if ip.is_ipv4() { GATEWAY_V4 } else { GATEWAY_V6 };
            pod.add_address(pod_link, *ip).await?;
            pod.add_neighbour(pod_link, gateway, HOST_MAC).await?;
            pod.add_default_route(pod_link, gateway).await?;
            self.host.add_neighbour(host_link, *ip, pair.pod_mac).await?;
            self.host.add_pod_route(host_link, *ip).await?;
        }
        Ok(())
    }

    /// Opens the pod's host ports. A batch that does not fit what is in force (after a crash, or
    /// because somebody removed the table) is followed by making the whole table anew.
    async fn open_ports(&self, record: &PodRecord) -> Result<(), PodNetworkError> {
        if record.host_ports.is_empty() {
            return Ok(());
        }
        let _rules = self.rules.lock().await;
        if self.nft.apply(&pod_rules::add_pod(&self.config.table, record)).await.is_ok() {
            return Ok(());
        }
        Ok(self.nft.apply(&self.table()).await?)
    }

    async fn close_ports(&self, record: &PodRecord) -> Result<(), PodNetworkError> {
        if record.host_ports.is_empty() {
            return Ok(());
        }
        let _rules = self.rules.lock().await;
        if self.nft.apply(&pod_rules::remove_pod(&self.config.table, record)).await.is_ok() {
            return Ok(());
        }
        Ok(self.nft.apply(&self.table()).await?)
    }

    /// Takes everything back that a sandbox holds. The record goes last: a crash before leaves a
    /// record, and the runtime asks again.
    async fn disconnect(&self, sandbox_id: &str) -> Result<(), PodNetworkError> {
        let record = self.state.lock().pods.get(sandbox_id).cloned();
        let link = pod_link_name(&self.config.link_prefix, sandbox_id);
        self.host.delete_link(&link).await?;
        let Some(record) = record else { return Ok(()) };
        // Out of the state first: should the batch fail, the table made anew is without this pod.
        self.state.lock().pods.remove(sandbox_id);
        let closed = self.close_ports(&record).await;
        if let Err(error) = closed.and_then(|()| self.records.remove_pod(sandbox_id)) {
            self.state.lock().pods.insert(sandbox_id.to_owned(), record);
            return Err(error);
        }
        self.state.lock().ipam.release(sandbox_id);
        Ok(())
    }
}

#[async_trait]
impl PodNetwork for RoutedVeth {
    async fn add(&self, request: PodNetworkRequest) -> Result<PodNetworkStatus, PodNetworkError> {
        let shared = &self.shared;
        let record = shared.reserve(&request)?;
        let connected = match shared.connect(&record).await {
            Ok(()) => shared.open_ports(&record).await,
            Err(error) => Err(error),
        };
        if let Err(error) = connected {
            if let Err(also) = shared.disconnect(&request.sandbox_id).await {
                tracing::warn!(sandbox = request.sandbox_id, error = %also, "cannot undo a failed pod network");
            }
            return Err(error);
        }
        Ok(PodNetworkStatus { ips: record.ips })
    }

    async fn del(&self, sandbox_id: &str, _netns_path: &Path) -> Result<(), PodNetworkError> {
        self.shared.disconnect(sandbox_id).await
    }

    async fn status(&self, sandbox_id: &str) -> Option<PodNetworkStatus> {
        let state = self.shared.state.lock();
        state.pods.get(sandbox_id).map(|pod| PodNetworkStatus { ips: pod.ips.clone() })
    }

    async fn retain(&self, live: &[String]) -> Result<(), PodNetworkError> {
        let live: BTreeSet<&String> = live.iter().collect();
        let gone: Vec<String> = {
            let state = self.shared.state.lock();
            state.pods.keys().filter(|id| !live.contains(id)).cloned().collect()
        };
        for sandbox_id in gone {
            tracing::info!(sandbox = sandbox_id, "freeing the network of a sandbox that is gone");
            self.shared.disconnect(&sandbox_id).await?;
        }
        Ok(())
    }
}

/// The host's end of a sandbox's link: prefix and as much of a hash as a link name holds.
fn pod_link_name(prefix: &str, sandbox_id: &str) -> String {
    let hash = hex::encode(Sha256::digest(sandbox_id.as_bytes()));
    format!("{prefix}{}", &hash[..LINK_HASH_LEN])
}

/// Letters of hash in a link name; with a prefix of four the fifteen that Linux allows.
const LINK_HASH_LEN: usize = 11;

/// Whether a link of that name can be a pod's, made by a network with this prefix.
pub(super) fn is_pod_link(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == LINK_HASH_LEN && rest.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// A locally administered hardware address made from the pod's address, so that it is the same
/// whenever the link is made again.
fn pod_mac(ip: IpAddr) -> [u8; 6] {
    let tail: [u8; 4] = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let o = ip.octets();
            [o[12], o[13], o[14], o[15]]
        }
    };
    [0x0a, 0x58, tail[0], tail[1], tail[2], tail[3]]
}

fn routes_record(routes: &BTreeSet<NodeRoute>) -> HostRecord {
    HostRecord { routes: routes.iter().map(|route| route.range).collect(), ..HostRecord::default() }
}

/// All that either names; the first one's version and prefix, unless it has none.
fn union(a: &HostRecord, b: &HostRecord) -> HostRecord {
    let mut all = a.clone();
    if all.version == 0 {
        all.version = b.version;
        all.link_prefix.clone_from(&b.link_prefix);
    }
    all.tables.extend(b.tables.iter().filter(|x| !a.tables.contains(x)).cloned());
    all.node_addresses.extend(b.node_addresses.iter().filter(|x| !a.node_addresses.contains(x)));
    all.routes.extend(b.routes.iter().filter(|x| !a.routes.contains(x)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_and_are_told_from_other_links() {
        let name = pod_link_name("kln", "6f1c");
        assert!(name.len() <= 15 && is_pod_link("kln", &name), "{name}");
        for other in ["kln0", "klnzzzzzzzzzzz", "eth0", "kl2123456789ab", "kln123456789abc"] {
            assert!(!is_pod_link("kln", other), "{other}");
        }
    }

    #[test]
    fn hardware_addresses_follow_the_pods_address() {
        assert_eq!(pod_mac("10.1.2.3".parse().unwrap()), [0x0a, 0x58, 10, 1, 2, 3]);
    }
}
