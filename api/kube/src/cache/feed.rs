//! The feed: one watch over the whole registry, handed out to the caches of the resources.
//!
//! One watch for all means one order and one progress: once the feed has passed a revision, every
//! cache is known to be complete up to it, without a round trip per resource. Caches are made when
//! a resource is first asked for; events of the others are dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keelson_client::{StoreError, WatchItem, WatcherHandle};
use keelson_proto::mvccpb;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::object::Object;
use super::resource::{Cache, Write};
use crate::status::Status;
use crate::storage::{ROOT, Storage, failure, wire_bytes};

/// How long a read waits for a revision that the feed has not reached.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// A quiet feed is asked for its progress after this long.
const ASK_AFTER: Duration = Duration::from_millis(10);
/// Pause before the watch is opened again.
const RETRY: Duration = Duration::from_millis(200);
/// Keys a load reads at once.
const LOAD_PAGE: i64 = 5_000;

/// The caches of all resources.
pub(crate) struct Caches {
    storage: Arc<Storage>,
    caches: RwLock<BTreeMap<String, Arc<Cache>>>,
    loading: tokio::sync::Mutex<()>,
    progress: Arc<AtomicI64>,
    moved: watch::Sender<i64>,
    handle: Mutex<Option<WatcherHandle>>,
}

impl Caches {
    /// Opens the feed; the task ends with `token`.
    pub(crate) async fn start(
        storage: Arc<Storage>,
        token: CancellationToken,
    ) -> Result<Arc<Self>, Status> {
        let revision = storage.revision().await?;
        let caches = Arc::new(Caches {
            storage,
            caches: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            progress: Arc::new(AtomicI64::new(revision)),
            moved: watch::channel(revision).0,
            handle: Mutex::default(),
        });
        let feed = caches.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = feed.run() => {}
                () = token.cancelled() => {}
            }
        });
        Ok(caches)
    }

    /// The cache of the resource stored below `/registry/<prefix>/`, loaded.
    pub(crate) async fn of(&self, prefix: &str) -> Result<Arc<Cache>, Status> {
        if let Some(cache) = self.loaded(prefix) {
            return Ok(cache);
        }
        let _one_load_at_a_time = self.loading.lock().await;
        if let Some(cache) = self.loaded(prefix) {
            return Ok(cache);
        }
        // In the map before the list is made: what is written meanwhile waits in the cache.
        let cache = self
            .caches
            .write()
            .entry(prefix.to_owned())
            .or_insert_with(|| {
                Arc::new(Cache::new(format!("{ROOT}{prefix}/"), self.progress.clone()))
            })
            .clone();
        self.load(&cache).await.map_err(failure)?;
        Ok(cache)
    }

    /// The cache, when it is loaded already.
    pub(crate) fn loaded(&self, prefix: &str) -> Option<Arc<Cache>> {
        self.caches.read().get(prefix).filter(|c| c.is_loaded()).cloned()
    }

    /// Every cache there is, with its storage prefix.
    pub(crate) fn all(&self) -> Vec<(String, Arc<Cache>)> {
        self.caches.read().iter().map(|(k, c)| (k.clone(), c.clone())).collect()
    }

    /// How far the feed is.
    pub(crate) fn revision(&self) -> i64 {
        self.progress.load(Ordering::Acquire)
    }

    /// Waits until `cache` is as new as the store is now.
    pub(crate) async fn freshen(&self, cache: &Cache) -> Result<(), Status> {
        let newest = self.storage.revision().await?;
        self.wait_for(cache, newest).await
    }

    /// Waits until `cache` has reached `revision`.
    pub(crate) async fn wait_for(&self, cache: &Cache, revision: i64) -> Result<(), Status> {
        if cache.revision() >= revision {
            return Ok(());
        }
        let mut moved = self.moved.subscribe();
        let reached = async {
            loop {
                if cache.revision() >= revision {
                    return;
                }
                if tokio::time::timeout(ASK_AFTER, moved.changed()).await.is_err()
                    && let Some(handle) = &*self.handle.lock()
                {
                    handle.request_progress();
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, reached)
            .await
            .map_err(|_| Status::too_large_resource_version(revision, cache.revision()))
    }

    async fn load(&self, cache: &Cache) -> Result<(), StoreError> {
        let mut objects = Vec::new();
        let mut revision = 0;
        let mut start = cache.prefix.clone();
        loop {
            let page = self.storage.list(&cache.prefix, &start, LOAD_PAGE, revision).await?;
            if revision == 0 {
                revision = page.revision;
            }
            for stored in page.items {
                let Some(key) = relative(&stored.key, &cache.prefix) else { continue };
                let wire = wire_bytes(&stored.value, stored.revision);
                start = format!("{}{key}\0", cache.prefix);
                objects.push(Arc::new(Object::new(key.into(), stored.revision, wire)));
            }
            if !page.more {
                break;
            }
        }
        cache.load(objects, revision);
        Ok(())
    }

    async fn run(&self) {
        loop {
            match self.follow().await {
                Err(StoreError::Compacted) => {
                    tracing::warn!("the registry's watch is behind a compaction: listing anew");
                    if let Err(error) = self.reload().await {
                        tracing::warn!(%error, "cannot list the registry anew");
                    }
                }
                Err(error) => tracing::warn!(%error, "the registry's watch ended"),
                Ok(()) => {}
            }
            *self.handle.lock() = None;
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn follow(&self) -> Result<(), StoreError> {
        let mut watcher = self.storage.watch_all(self.revision()).await?;
        *self.handle.lock() = Some(watcher.handle());
        while let Some(item) = watcher.next().await {
            match item? {
                WatchItem::Events { events, .. } => self.hand_out(events),
                WatchItem::Progress { revision } => self.advance(revision),
            }
        }
        Ok(())
    }

    async fn reload(&self) -> Result<(), StoreError> {
        let newest = self.storage.list(ROOT, ROOT, 1, 0).await?.revision;
        for (_, cache) in self.all() {
            self.load(&cache).await?;
        }
        self.advance(newest);
        Ok(())
    }

    fn hand_out(&self, events: Vec<mvccpb::Event>) {
        let mut last = 0;
        let mut batch: Option<(Arc<Cache>, Vec<Write>)> = None;
        for event in events {
            let deleted = event.r#type == mvccpb::event::EventType::Delete as i32;
            let Some(kv) = event.kv else { continue };
            last = kv.mod_revision;
            let Some((cache, key)) = self.find(&kv.key) else { continue };
            let write = Write {
                key: key.to_owned(),
                revision: kv.mod_revision,
                value: (!deleted).then_some(kv.value),
            };
            match &mut batch {
                Some((same, writes)) if Arc::ptr_eq(same, &cache) => writes.push(write),
                _ => {
                    if let Some((cache, writes)) = batch.replace((cache, vec![write])) {
                        cache.apply(writes);
                    }
                }
            }
        }
        if let Some((cache, writes)) = batch {
            cache.apply(writes);
        }
        self.advance(last);
    }

    /// The cache a key belongs to: resources take one or two segments below the root.
    fn find<'k>(&self, key: &'k [u8]) -> Option<(Arc<Cache>, &'k str)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
        let caches = self.caches.read();
        rest.match_indices('/').take(2).find_map(|(at, _)| {
            caches.get(&rest[..at]).map(|cache| (cache.clone(), &rest[at + 1..]))
        })
    }

    fn advance(&self, revision: i64) {
        self.progress.fetch_max(revision, Ordering::AcqRel);
        self.moved.send_modify(|r| *r = revision.max(*r));
    }
}

fn relative<'k>(key: &'k [u8], prefix: &str) -> Option<&'k str> {
    std::str::from_utf8(key).ok()?.strip_prefix(prefix)
}
