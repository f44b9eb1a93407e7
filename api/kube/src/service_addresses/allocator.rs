//! The allocator: which addresses and ports are free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use rand::Rng as _;

use crate::cache::Caches;
use crate::status::Status;

/// A choice that was written must be in the cache after this time.
const RESERVED_FOR: Duration = Duration::from_secs(30);
/// Random picks before the range is searched in order.
const RANDOM_PICKS: usize = 16;

/// An address or a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Address(IpAddr),
    /// Protocol and number.
    Port(String, u16),
}

/// Chooses addresses and ports.
pub(crate) struct Addresses {
    range: IpNet,
    ports: (u16, u16),
    recent: Arc<Mutex<BTreeMap<Item, (String, Instant)>>>,
    compiled: Mutex<Compiled>,
}

/// The version of the cache, and who has what.
type Compiled = Option<((u64, i64), Arc<BTreeMap<Item, String>>)>;

impl Addresses {
    pub(crate) fn new(range: IpNet, ports: (u16, u16)) -> Self {
        Addresses { range, ports, recent: Arc::default(), compiled: Mutex::new(None) }
    }

    /// The address of the service `kubernetes`.
    pub(crate) fn first(&self) -> Option<IpAddr> {
        nth(self.range, 1)
    }

    /// Begins to choose for one Service.
    pub(crate) async fn begin(
        &self,
        caches: &Caches,
        namespace: &str,
        name: &str,
        dry_run: bool,
    ) -> Result<Reserved, Status> {
        let cache = caches.of("services/specs").await?;
        caches.freshen(&cache).await?;
        let version = cache.version();
        let taken = {
            let mut compiled = self.compiled.lock();
            match &*compiled {
                Some((of, taken)) if *of == version => taken.clone(),
                _ => {
                    let mut taken = BTreeMap::new();
                    for object in cache.snapshot("").objects {
                        for item in items(&object.value()["spec"]) {
                            taken.insert(item, object.key.to_string());
                        }
                    }
                    let taken = Arc::new(taken);
                    *compiled = Some((version, taken.clone()));
                    taken
                }
            }
        };
        Ok(Reserved(Some(Choosing {
            range: self.range,
            ports: self.ports,
            owner: format!("{namespace}/{name}"),
            taken,
            recent: self.recent.clone(),
            mine: BTreeSet::new(),
            dry_run,
        })))
    }
}

/// What was chosen for one Service. Dropped without [`Reserved::keep`] it is free again.
pub(crate) struct Reserved(Option<Choosing>);

struct Choosing {
    range: IpNet,
    ports: (u16, u16),
    owner: String,
    taken: Arc<BTreeMap<Item, String>>,
    recent: Arc<Mutex<BTreeMap<Item, (String, Instant)>>>,
    mine: BTreeSet<Item>,
    dry_run: bool,
}

impl Reserved {
    pub(crate) fn none() -> Self {
        Reserved(None)
    }

    /// The Service was written: the reservation lasts until the cache has seen it.
    pub(crate) fn keep(mut self) {
        if let Some(choosing) = &mut self.0 {
            choosing.mine.clear();
        }
    }

    pub(crate) fn default_family(&self) -> &'static str {
        match self.0.as_ref().map(|c| c.range) {
            Some(IpNet::V6(_)) => "IPv6",
            _ => "IPv4",
        }
    }

    /// Takes this address, or says why not.
    pub(crate) fn take_address(&mut self, ip: IpAddr) -> Result<(), String> {
        let Some(choosing) = &mut self.0 else { return Ok(()) };
        if !choosing.range.contains(&ip) {
            let range = choosing.range;
            return Err(format!(
                "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
            ));
        }
        if choosing.take(Item::Address(ip)) {
            Ok(())
        } else {
            Err("provided IP is already allocated".to_owned())
        }
    }

    /// Takes some address: one outside of the band kept for those that are asked for by name.
    pub(crate) fn any_address(&mut self) -> Option<IpAddr> {
        let choosing = self.0.as_mut()?;
        let size = size(choosing.range);
        let last = size.checked_sub(2).filter(|last| *last >= 1)?;
        let band = (size / 16).clamp(16, 256).min(last);
        let range = choosing.range;
        choosing.any(band + 1, last, |n| nth(range, n).map(Item::Address)).and_then(|i| match i {
            Item::Address(ip) => Some(ip),
            Item::Port(..) => None,
        })
    }

    /// Takes this port, or says why not.
    pub(crate) fn take_port(&mut self, protocol: &str, port: u16) -> Result<(), String> {
        let Some(choosing) = &mut self.0 else { return Ok(()) };
        let (first, last) = choosing.ports;
        if !(first..=last).contains(&port) {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            ));
        }
        if choosing.take(Item::Port(protocol.to_owned(), port)) {
            Ok(())
        } else {
            Err("provided port is already allocated".to_owned())
        }
    }

    /// Takes some port, preferably outside of the low band.
    pub(crate) fn any_port(&mut self, protocol: &str) -> Option<u16> {
        let choosing = self.0.as_mut()?;
        let (first, last) = choosing.ports;
        let size = u128::from(last.checked_sub(first)?) + 1;
        let band = (size / 32).clamp(16, 128).min(size - 1);
        let protocol = protocol.to_owned();
        let item = |n: u128| {
            let port = first.checked_add(u16::try_from(n).ok()?)?;
            Some(Item::Port(protocol.clone(), port))
        };
        choosing.any(band, size - 1, item).and_then(|i| match i {
            Item::Port(_, port) => Some(port),
            Item::Address(_) => None,
        })
    }
}

impl Choosing {
    fn take(&mut self, item: Item) -> bool {
        if self.taken.get(&item).is_some_and(|owner| *owner != self.owner) {
            return false;
        }
        let mut recent = self.recent.lock();
        recent.retain(|_, (_, at)| at.elapsed() < RESERVED_FOR);
        if recent.get(&item).is_some_and(|(owner, _)| *owner != self.owner) {
            return false;
        }
        if !self.dry_run {
            let known = self.taken.contains_key(&item);
            recent.insert(item.clone(), (self.owner.clone(), Instant::now()));
            if !known {
                self.mine.insert(item);
            }
        }
        true
    }

    /// The first free of `from..=last`, starting anywhere; then of `0..from`.
    fn any(&mut self, from: u128, last: u128, item: impl Fn(u128) -> Option<Item>) -> Option<Item> {
        let free = |this: &mut Self, n: u128| {
            let item = item(n)?;
            let own = this.taken.contains_key(&item);
            (!own && this.take(item.clone())).then_some(item)
        };
        for _ in 0..RANDOM_PICKS {
            let n = rand::rng().random_range(from.min(last)..=last);
            if let Some(found) = free(self, n) {
                return Some(found);
            }
        }
        (from..=last)
            .chain(u128::from(matches!(item(0), Some(Item::Address(_))))..from)
            .find_map(|n| free(self, n))
    }
}

impl Drop for Choosing {
    fn drop(&mut self) {
        let mut recent = self.recent.lock();
        for item in &self.mine {
            recent.remove(item);
        }
    }
}

/// What a Service has.
fn items(spec: &serde_json::Value) -> Vec<Item> {
    let mut all = Vec::new();
    let addresses = spec["clusterIPs"].as_array().into_iter().flatten().chain([&spec["clusterIP"]]);
    all.extend(addresses.filter_map(|ip| ip.as_str()?.parse().ok()).map(Item::Address));
    let number = |v: &serde_json::Value| v.as_u64().and_then(|n| u16::try_from(n).ok());
    for port in spec["ports"].as_array().into_iter().flatten() {
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        all.extend(number(&port["nodePort"]).map(|n| Item::Port(protocol, n)));
    }
    all.extend(number(&spec["healthCheckNodePort"]).map(|n| Item::Port("TCP".to_owned(), n)));
    all
}

/// How many addresses a range has; huge ones are cut as Kubernetes cuts them.
fn size(range: IpNet) -> u128 {
    let bits = range.max_prefix_len() - range.prefix_len();
    1 << bits.min(64)
}

fn nth(range: IpNet, n: u128) -> Option<IpAddr> {
    match range {
        IpNet::V4(net) => {
            let base = u32::from(net.network());
            let ip = Ipv4Addr::from(base.checked_add(u32::try_from(n).ok()?)?);
            net.contains(&ip).then_some(IpAddr::V4(ip))
        }
        IpNet::V6(net) => {
            let ip = Ipv6Addr::from(u128::from(net.network()).checked_add(n)?);
            net.contains(&ip).then_some(IpAddr::V6(ip))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choosing(
        range: &str,
        recent: &Arc<Mutex<BTreeMap<Item, (String, Instant)>>>,
        owner: &str,
    ) -> Reserved {
        Reserved(Some(Choosing {
            range: range.parse().unwrap(),
            ports: (30_000, 30_020),
            owner: owner.to_owned(),
            taken: Arc::default(),
            recent: recent.clone(),
            mine: BTreeSet::new(),
            dry_run: false,
        }))
    }

    #[test]
    fn a_small_range_is_given_out_whole_and_once() {
        let recent = Arc::default();
        let mut seen = BTreeSet::new();
        for i in 0..14 {
            let mut r = choosing("10.0.0.0/28", &recent, &format!("n/{i}"));
            assert!(seen.insert(r.any_address().unwrap()));
            r.keep();
        }
        assert!(choosing("10.0.0.0/28", &recent, "n/x").any_address().is_none());
        assert!(!seen.contains(&"10.0.0.0".parse().unwrap()));
        assert!(!seen.contains(&"10.0.0.15".parse().unwrap()));
    }

    #[test]
    fn what_is_not_kept_is_free_again() {
        let recent = Arc::default();
        let ip = "10.0.0.9".parse().unwrap();
        assert!(choosing("10.0.0.0/24", &recent, "n/a").take_address(ip).is_ok());
        let mut kept = choosing("10.0.0.0/24", &recent, "n/b");
        assert!(kept.take_address(ip).is_ok());
        kept.keep();
        let refused = choosing("10.0.0.0/24", &recent, "n/c").take_address(ip);
        assert_eq!(refused, Err("provided IP is already allocated".to_owned()));
    }

    #[test]
    fn a_port_serves_two_protocols() {
        let recent = Arc::default();
        let mut r = choosing("10.0.0.0/24", &recent, "n/a");
        assert!(r.take_port("TCP", 30_001).is_ok());
        assert!(r.take_port("UDP", 30_001).is_ok());
        assert!(r.take_port("TCP", 80).is_err());
    }
}
