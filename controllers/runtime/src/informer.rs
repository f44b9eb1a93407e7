//! A shared informer: the newest state of one collection in memory, indexed, with handlers.
//!
//! A writer hands what the server answered to `observe_write`, so that it never acts twice on a
//! state older than its own writes. Versions decide: what the watch has already passed is
//! ignored, so an object that was deleted meanwhile does not come back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use kube::Client;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::object::{ObjectKey, Watched};
use crate::reflector::{Delta, Reflector, Source};

/// What happened to one object.
#[derive(Debug)]
pub enum Change<'a, K> {
    /// It is new to this informer.
    Added(&'a Arc<K>),
    /// It changed from the first to the second.
    Updated(&'a Arc<K>, &'a Arc<K>),
    /// It is gone.
    Deleted(&'a Arc<K>),
}

impl<K> Change<'_, K> {
    /// The object as it is now, or was last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Change::Added(new) | Change::Updated(_, new) | Change::Deleted(new) => new,
        }
    }
}

type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;
type IndexFn<K> = fn(&K) -> Option<&str>;

struct Index<K> {
    value: IndexFn<K>,
    keys: BTreeMap<String, BTreeSet<ObjectKey>>,
}

struct Store<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indices: BTreeMap<&'static str, Index<K>>,
    seen: u64,
}

struct Shared<K> {
    store: RwLock<Store<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
    trim: fn(&mut K),
}

/// A handle on one collection's newest state; clones share it.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Watched> Default for Informer<K> {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl<K: Watched> Informer<K> {
    /// An empty informer; `trim` drops from each object what nobody reads.
    pub fn new(trim: fn(&mut K)) -> Self {
        let store = Store { objects: BTreeMap::new(), indices: BTreeMap::new(), seen: 0 };
        Self {
            shared: Arc::new(Shared {
                store: RwLock::new(store),
                handlers: RwLock::default(),
                synced: watch::Sender::new(false),
                trim,
            }),
        }
    }

    /// Keeps an index by what `value` says of each object. Call before `run`.
    pub fn with_index(self, name: &'static str, value: IndexFn<K>) -> Self {
        let index = Index { value, keys: BTreeMap::new() };
        self.shared.store.write().indices.insert(name, index);
        self
    }

    /// Calls `handler` on every change, for what is known already too. It must be quick.
    pub fn on_change(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.write();
        for object in self.list() {
            handler(&Change::Added(&object));
        }
        handlers.push(Box::new(handler));
    }

    /// Follows `source` until cancelled.
    pub async fn run(self, client: Client, source: Source, token: CancellationToken) {
        let mut reflector = Reflector::new(client, source);
        while let Some((delta, version)) = token.run_until_cancelled(reflector.next()).await {
            match delta {
                Delta::Restarted(objects) => {
                    self.restart(objects, version);
                    self.shared.synced.send_replace(true);
                }
                Delta::Applied(object) => self.apply(object, version),
                Delta::Deleted(object) => self.delete(&object, version),
                Delta::Progress => self.shared.store.write().seen = version,
            }
        }
        // Who still waits for the first list is to end too, and not to wait for ever.
        self.shared.synced.send_replace(true);
    }

    /// Waits until the first list is in, or the informer has ended.
    pub async fn synced(&self) {
        // The sender lives as long as this handle does.
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// The object of that key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.shared.store.read().objects.get(key).cloned()
    }

    /// All objects, by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.store.read().objects.values().cloned().collect()
    }

    /// All objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = ObjectKey::new(namespace, "");
        let store = self.shared.store.read();
        let range = store.objects.range((Bound::Included(from), Bound::Unbounded));
        range
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// All objects for which the index `name` says `value`.
    pub fn indexed(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let store = self.shared.store.read();
        let Some(keys) = store.indices.get(name).and_then(|index| index.keys.get(value)) else {
            return Vec::new();
        };
        keys.iter().filter_map(|key| store.objects.get(key)).cloned().collect()
    }

    /// How many objects are known.
    pub fn len(&self) -> usize {
        self.shared.store.read().objects.len()
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in what the server answered to a write of one's own, unless the watch is past it.
    pub fn observe_write(&self, object: K) {
        let mut store = self.shared.store.write();
        if object.version() <= store.seen {
            return;
        }
        let change = store.put(object, self.shared.trim);
        drop(store);
        self.notify_put(change);
    }

    /// Marks an object as being deleted after a successful delete call, until the watch says more.
    pub fn observe_delete(&self, key: &ObjectKey, uid: &str) {
        let mut store = self.shared.store.write();
        let Some(old) = store.objects.get(key).filter(|old| old.uid() == uid && !old.is_deleting())
        else {
            return;
        };
        let mut marked = K::clone(old);
        marked.object_meta_mut().deletion_timestamp = Some(crate::now());
        store.objects.insert(key.clone(), Arc::new(marked));
    }

    fn apply(&self, object: K, version: u64) {
        let mut store = self.shared.store.write();
        store.seen = version;
        let change = store.put(object, self.shared.trim);
        drop(store);
        self.notify_put(change);
    }

    fn delete(&self, object: &K, version: u64) {
        let mut store = self.shared.store.write();
        store.seen = version;
        let key = object.key();
        if store.objects.get(&key).is_some_and(|old| old.version() > object.version()) {
            return;
        }
        let removed = store.remove(&key);
        drop(store);
        if let Some(old) = removed {
            self.notify(&Change::Deleted(&old));
        }
    }

    fn restart(&self, objects: Vec<K>, version: u64) {
        let mut store = self.shared.store.write();
        let listed: BTreeSet<ObjectKey> = objects.iter().map(Watched::key).collect();
        let gone: Vec<ObjectKey> = store
            .objects
            .iter()
            .filter(|(key, old)| !listed.contains(key) && old.version() <= version)
            .map(|(key, _)| key.clone())
            .collect();
        let removed: Vec<Arc<K>> = gone.iter().filter_map(|key| store.remove(key)).collect();
        let puts: Vec<_> =
            objects.into_iter().map(|object| store.put(object, self.shared.trim)).collect();
        store.seen = version;
        drop(store);
        for old in &removed {
            self.notify(&Change::Deleted(old));
        }
        for put in puts {
            self.notify_put(put);
        }
    }

    fn notify_put(&self, put: Option<(Option<Arc<K>>, Arc<K>)>) {
        match put {
            // The same name with another uid is another object: its watchers see both ends.
            Some((Some(old), new)) if old.uid() != new.uid() => {
                self.notify(&Change::Deleted(&old));
                self.notify(&Change::Added(&new));
            }
            Some((Some(old), new)) => self.notify(&Change::Updated(&old, &new)),
            Some((None, new)) => self.notify(&Change::Added(&new)),
            None => {}
        }
    }

    fn notify(&self, change: &Change<'_, K>) {
        for handler in self.shared.handlers.read().iter() {
            handler(change);
        }
    }
}

impl<K: Watched> Store<K> {
    /// Stores an object unless it is stored already; the one before it and itself.
    fn put(&mut self, mut object: K, trim: fn(&mut K)) -> Option<(Option<Arc<K>>, Arc<K>)> {
        let key = object.key();
        let old = self.objects.get(&key);
        if old.is_some_and(|old| old.version() >= object.version() && object.version() != 0) {
            return None;
        }
        object.object_meta_mut().managed_fields = None;
        trim(&mut object);
        let old = self.remove(&key);
        let new = Arc::new(object);
        for index in self.indices.values_mut() {
            if let Some(value) = (index.value)(&new) {
                match index.keys.get_mut(value) {
                    Some(keys) => _ = keys.insert(key.clone()),
                    None => _ = index.keys.insert(value.to_owned(), BTreeSet::from([key.clone()])),
                }
            }
        }
        self.objects.insert(key, new.clone());
        Some((old, new))
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for index in self.indices.values_mut() {
            let Some(value) = (index.value)(&old) else {
                continue;
            };
            if let Some(keys) = index.keys.get_mut(value) {
                keys.remove(key);
                if keys.is_empty() {
                    index.keys.remove(value);
                }
            }
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;
    use crate::object::MetaObject;

    fn object(name: &str, uid: &str, version: u64) -> MetaObject {
        MetaObject {
            metadata: ObjectMeta {
                name: Some(name.into()),
                uid: Some(uid.into()),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("", name)
    }

    #[test]
    fn a_written_object_is_seen_before_the_watch_brings_it() {
        let informer = Informer::<MetaObject>::default();
        informer.restart(vec![], 5);
        informer.observe_write(object("a", "1", 7));
        assert!(informer.get(&key("a")).is_some());
        informer.apply(object("a", "1", 7), 7);
        informer.delete(&object("a", "1", 8), 8);
        assert!(informer.get(&key("a")).is_none());
    }

    #[test]
    fn a_written_object_that_the_watch_saw_deleted_does_not_come_back() {
        let informer = Informer::<MetaObject>::default();
        informer.apply(object("a", "1", 7), 7);
        informer.delete(&object("a", "1", 8), 8);
        informer.observe_write(object("a", "1", 7));
        assert!(informer.is_empty());
    }

    #[test]
    fn a_restart_keeps_newer_writes_and_drops_what_is_gone() {
        let informer = Informer::<MetaObject>::default();
        informer.restart(vec![object("old", "1", 3), object("kept", "2", 4)], 5);
        informer.observe_write(object("new", "3", 12));
        informer.restart(vec![object("kept", "2", 4)], 10);
        let names: Vec<_> = informer.list().iter().map(|o| o.key().name).collect();
        assert_eq!(names, ["kept", "new"]);
    }

    #[test]
    fn handlers_see_a_replaced_object_as_deleted_and_added() {
        let informer = Informer::<MetaObject>::default();
        let (added, deleted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (added.clone(), deleted.clone());
        informer.on_change(move |change| match change {
            Change::Added(_) => _ = counts.0.fetch_add(1, Ordering::Relaxed),
            Change::Deleted(_) => _ = counts.1.fetch_add(1, Ordering::Relaxed),
            Change::Updated(..) => panic!("not an update"),
        });
        informer.apply(object("a", "1", 1), 1);
        informer.apply(object("a", "2", 3), 3);
        assert_eq!((added.load(Ordering::Relaxed), deleted.load(Ordering::Relaxed)), (2, 1));
    }

    #[test]
    fn an_index_follows_changes() {
        let informer = Informer::<MetaObject>::default()
            .with_index("uid", |object| object.metadata.uid.as_deref());
        informer.apply(object("a", "1", 1), 1);
        informer.apply(object("b", "1", 2), 2);
        informer.apply(object("a", "2", 3), 3);
        assert_eq!(informer.indexed("uid", "1").len(), 1);
        assert_eq!(informer.indexed("uid", "2")[0].key(), key("a"));
    }
}
