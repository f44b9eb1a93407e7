//! The store of Services and EndpointSlices. Readers see single Services; subscribers hear which
//! ones changed, as often as they care to ask.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use super::model::{Service, ServiceKey, Slice, service_of};

/// Services and their endpoints.
#[derive(Debug)]
pub struct Catalog {
    content: RwLock<Content>,
    subscribers: Mutex<Vec<Weak<Subscriber>>>,
    synced: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Content {
    services: BTreeMap<ServiceKey, Arc<Service>>,
    slices: BTreeMap<ServiceKey, BTreeMap<String, Arc<Slice>>>,
    /// Which Service a slice belonged to when last seen: its label may change.
    owner_of: HashMap<(String, String), ServiceKey>,
    /// Cluster addresses to their Services.
    by_cluster_ip: HashMap<IpAddr, ServiceKey>,
    /// Endpoints' addresses to the Services that they are named endpoints of.
    by_named_endpoint: HashMap<IpAddr, BTreeSet<ServiceKey>>,
}

/// One side of a subscription.
#[derive(Debug)]
pub struct Changes {
    catalog: Arc<Catalog>,
    mine: Arc<Subscriber>,
}

#[derive(Debug, Default)]
struct Subscriber {
    changed: Mutex<BTreeSet<ServiceKey>>,
    wake: Notify,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            content: RwLock::default(),
            subscribers: Mutex::default(),
            synced: watch::Sender::new(false),
        }
    }
}

impl Catalog {
    /// An empty catalog that is not synced.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Whether both kinds were listed once.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Says that both kinds were listed.
    pub fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// Waits until both kinds were listed.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as self.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Subscribes to changes; everything that is there counts as changed.
    pub fn subscribe(self: &Arc<Self>) -> Changes {
        let mine = Arc::new(Subscriber::default());
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        subscribers.push(Arc::downgrade(&mine));
        mine.changed.lock().extend(self.keys());
        mine.wake.notify_one();
        Changes { catalog: Arc::clone(self), mine }
    }

    /// Keys of all Services, and of slices without one.
    pub fn keys(&self) -> BTreeSet<ServiceKey> {
        let content = self.content.read();
        content.services.keys().chain(content.slices.keys()).cloned().collect()
    }

    /// A Service.
    pub fn service(&self, key: &ServiceKey) -> Option<Arc<Service>> {
        self.content.read().services.get(key).cloned()
    }

    /// The slices of a Service, in the order of their names.
    pub fn slices(&self, key: &ServiceKey) -> Vec<Arc<Slice>> {
        self.content
            .read()
            .slices
            .get(key)
            .into_iter()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    /// The Service with a cluster address.
    pub fn service_at(&self, ip: IpAddr) -> Option<ServiceKey> {
        self.content.read().by_cluster_ip.get(&ip).cloned()
    }

    /// The Services that have an endpoint with a hostname at an address.
    pub fn named_endpoint_at(&self, ip: IpAddr) -> Vec<ServiceKey> {
        self.content.read().by_named_endpoint.get(&ip).into_iter().flatten().cloned().collect()
    }

    /// Whether any Service is in a namespace.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        let from = ServiceKey::new(namespace, "");
        self.content
            .read()
            .services
            .range(from..)
            .next()
            .is_some_and(|(k, _)| k.namespace == namespace)
    }

    /// The Services of a namespace, in the order of their names.
    pub fn services_in(&self, namespace: &str) -> Vec<(String, Arc<Service>)> {
        let from = ServiceKey::new(namespace, "");
        self.content
            .read()
            .services
            .range(from..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(key, service)| (key.name.clone(), Arc::clone(service)))
            .collect()
    }

    /// Takes a Service as it is now.
    pub fn apply_service(&self, object: &core::Service) {
        let Some(key) = key_of(&object.metadata) else { return };
        let service = Service::from_object(object);
        let mut content = self.content.write();
        if content.services.get(&key).is_some_and(|old| **old == service) {
            return;
        }
        content.forget_cluster_ips(&key);
        for ip in &service.cluster_ips {
            content.by_cluster_ip.insert(*ip, key.clone());
        }
        content.services.insert(key.clone(), Arc::new(service));
        drop(content);
        self.notify([key]);
    }

    /// Takes note that a Service is gone.
    pub fn delete_service(&self, key: &ServiceKey) {
        let mut content = self.content.write();
        content.forget_cluster_ips(key);
        let gone = content.services.remove(key);
        drop(content);
        if gone.is_some() {
            self.notify([key.clone()]);
        }
    }

    /// Takes an EndpointSlice as it is now.
    pub fn apply_slice(&self, object: &discovery::EndpointSlice) {
        let Some(id) = key_of(&object.metadata) else { return };
        let id = (id.namespace, id.name);
        let owner = service_of(object);
        let slice = Slice::from_object(object);
        let mut content = self.content.write();
        let old_owner = content.owner_of.get(&id).cloned();
        let (Some(owner), Some(slice)) = (owner, slice) else {
            let changed = content.remove_slice(&id);
            drop(content);
            self.notify(changed);
            return;
        };
        let old = content.slices.get(&owner).and_then(|slices| slices.get(&id.1));
        if old.is_some_and(|old| **old == slice) {
            return;
        }
        let mut changed: Vec<ServiceKey> =
            old_owner.filter(|old| *old != owner).into_iter().collect();
        content.remove_slice(&id);
        content.owner_of.insert(id.clone(), owner.clone());
        content.slices.entry(owner.clone()).or_default().insert(id.1, Arc::new(slice));
        content.index_endpoints(&owner);
        drop(content);
        changed.push(owner);
        self.notify(changed);
    }

    /// Takes note that an EndpointSlice is gone.
    pub fn delete_slice(&self, namespace: &str, name: &str) {
        let changed = self.content.write().remove_slice(&(namespace.to_owned(), name.to_owned()));
        self.notify(changed);
    }

    /// Drops Services that a complete list did not name.
    pub(super) fn retain_services(&self, seen: &BTreeSet<ServiceKey>) {
        let known: Vec<ServiceKey> = self.content.read().services.keys().cloned().collect();
        for key in known.iter().filter(|key| !seen.contains(key)) {
            self.delete_service(key);
        }
    }

    /// Drops slices that a complete list did not name.
    pub(super) fn retain_slices(&self, seen: &BTreeSet<(String, String)>) {
        let known: Vec<(String, String)> = self.content.read().owner_of.keys().cloned().collect();
        for (namespace, name) in known.iter().filter(|id| !seen.contains(id)) {
            self.delete_slice(namespace, name);
        }
    }

    fn notify(&self, keys: impl IntoIterator<Item = ServiceKey>) {
        let keys: Vec<ServiceKey> = keys.into_iter().collect();
        if keys.is_empty() {
            return;
        }
        for subscriber in self.subscribers.lock().iter().filter_map(Weak::upgrade) {
            subscriber.changed.lock().extend(keys.iter().cloned());
            subscriber.wake.notify_one();
        }
    }
}

impl Content {
    fn forget_cluster_ips(&mut self, key: &ServiceKey) {
        let Some(old) = self.services.get(key) else { return };
        for ip in &old.cluster_ips {
            if self.by_cluster_ip.get(ip) == Some(key) {
                self.by_cluster_ip.remove(ip);
            }
        }
    }

    fn remove_slice(&mut self, id: &(String, String)) -> Option<ServiceKey> {
        let owner = self.owner_of.remove(id)?;
        self.forget_endpoints(&owner);
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(&id.1);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.index_endpoints(&owner);
        Some(owner)
    }

    fn named_endpoints(&self, owner: &ServiceKey) -> Vec<IpAddr> {
        let slices = self.slices.get(owner).into_iter().flat_map(BTreeMap::values);
        let named = slices.flat_map(|slice| &slice.endpoints).filter(|e| e.hostname.is_some());
        named.map(|endpoint| endpoint.ip).collect()
    }

    fn forget_endpoints(&mut self, owner: &ServiceKey) {
        for ip in self.named_endpoints(owner) {
            if let Some(owners) = self.by_named_endpoint.get_mut(&ip) {
                owners.remove(owner);
                if owners.is_empty() {
                    self.by_named_endpoint.remove(&ip);
                }
            }
        }
    }

    fn index_endpoints(&mut self, owner: &ServiceKey) {
        for ip in self.named_endpoints(owner) {
            self.by_named_endpoint.entry(ip).or_default().insert(owner.clone());
        }
    }
}

impl Changes {
    /// The Services that changed since the last call; waits for the catalog to be synced and for at
    /// least one change.
    pub async fn next(&mut self) -> BTreeSet<ServiceKey> {
        self.catalog.synced().await;
        loop {
            let changed = std::mem::take(&mut *self.mine.changed.lock());
            if !changed.is_empty() {
                return changed;
            }
            self.mine.wake.notified().await;
        }
    }

    /// What changed since the last call, without waiting.
    pub fn take(&mut self) -> BTreeSet<ServiceKey> {
        std::mem::take(&mut *self.mine.changed.lock())
    }
}

pub(super) fn key_of(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Option<ServiceKey> {
    Some(ServiceKey::new(metadata.namespace.clone()?, metadata.name.clone()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, ip: &str) -> core::Service {
        serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "default", "name": name},
            "spec": {"clusterIP": ip, "ports": [{"port": 80}]}
        }))
        .unwrap()
    }

    fn slice(name: &str, service: &str, ip: &str) -> discovery::EndpointSlice {
        serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "default", "name": name,
                         "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ip], "hostname": "h"}],
            "ports": [{"port": 8080}]
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn subscribers_hear_what_changed_and_only_that() {
        let catalog = Catalog::new();
        catalog.apply_service(&service("a", "10.0.0.1"));
        let mut changes = catalog.subscribe();
        catalog.set_synced();
        let key = |name: &str| ServiceKey::new("default", name);
        assert_eq!(changes.next().await, BTreeSet::from([key("a")]));
        catalog.apply_service(&service("a", "10.0.0.1"));
        assert!(changes.take().is_empty(), "no difference, no change");
        catalog.apply_slice(&slice("a-1", "a", "10.1.0.1"));
        catalog.apply_slice(&slice("a-1", "b", "10.1.0.1"));
        assert_eq!(changes.next().await, BTreeSet::from([key("a"), key("b")]));
        assert!(catalog.slices(&key("a")).is_empty());
        assert_eq!(catalog.named_endpoint_at("10.1.0.1".parse().unwrap()), vec![key("b")]);
        catalog.retain_slices(&BTreeSet::new());
        assert!(catalog.named_endpoint_at("10.1.0.1".parse().unwrap()).is_empty());
    }

    #[test]
    fn cluster_addresses_follow_their_service() {
        let catalog = Catalog::new();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        catalog.apply_service(&service("a", "10.0.0.1"));
        catalog.apply_service(&service("a", "10.0.0.2"));
        assert_eq!(catalog.service_at(ip("10.0.0.1")), None);
        // The address went to another Service before the deletion of the first was seen.
        catalog.apply_service(&service("b", "10.0.0.2"));
        catalog.delete_service(&ServiceKey::new("default", "a"));
        assert_eq!(catalog.service_at(ip("10.0.0.2")), Some(ServiceKey::new("default", "b")));
        assert!(catalog.has_namespace("default") && !catalog.has_namespace("defaul"));
    }
}
