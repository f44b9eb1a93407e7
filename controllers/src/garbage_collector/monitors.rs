//! Watches on every kind that can be deleted, those that appear later included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keelson_controller_runtime::{Backoff, Delta, MetaObject, Reflector, Source, Watched};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::graph::Identity;
use super::{Collector, Item, uid_of};
use crate::discovered::{Discovered, discover};

/// How often to ask for kinds that are new or gone.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The kinds that can be deleted, by API version and kind.
pub(super) struct Kinds {
    known: BTreeMap<(String, String), Discovered>,
    /// Kinds whose first list is not in yet; none before the first discovery.
    unsynced: watch::Sender<Option<usize>>,
}

impl Default for Kinds {
    fn default() -> Self {
        Self { known: BTreeMap::new(), unsynced: watch::Sender::new(None) }
    }
}

impl Kinds {
    pub(super) fn find(&self, api_version: &str, kind: &str) -> Option<&Discovered> {
        let of_kind = |(one, _): &(&(String, String), &Discovered)| one.1 == kind;
        self.known
            .get(&(api_version.to_owned(), kind.to_owned()))
            // The same kind in a version that the server does not prefer is the same object.
            .or_else(|| {
                let group = group_of(api_version);
                let mut same = self.known.iter().filter(of_kind);
                same.find(|(one, _)| group_of(&one.0) == group).map(|(_, found)| found)
            })
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Waits until all kinds that were found first have been listed.
pub(super) async fn synced(collector: &Collector) {
    let mut unsynced = collector.kinds.read().unsynced.subscribe();
    // The sender lives as long as the collector does.
    let _ = unsynced.wait_for(|left| *left == Some(0)).await;
}

/// Keeps a watch on every kind until cancelled.
pub(super) async fn run(collector: Arc<Collector>, token: CancellationToken) {
    let mut watches = JoinSet::new();
    let mut tokens = BTreeMap::<(String, String), CancellationToken>::new();
    let mut retry = Backoff::new(RETRY_FIRST, DISCOVERY_PERIOD);
    loop {
        let wait = match token.run_until_cancelled(discover(&collector.client)).await {
            None => break,
            Some(Ok(found)) => {
                follow(&collector, found, &mut tokens, &mut watches, &token);
                retry.reset();
                DISCOVERY_PERIOD
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "kinds not known");
                retry.wait()
            }
        };
        if token.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
    }
    while watches.join_next().await.is_some() {}
}

fn follow(
    collector: &Arc<Collector>,
    found: Vec<Discovered>,
    tokens: &mut BTreeMap<(String, String), CancellationToken>,
    watches: &mut JoinSet<()>,
    token: &CancellationToken,
) {
    let verbs = ["list", "watch", "delete"];
    let wanted = |kind: &Discovered| {
        // Events own nothing and are owned by nothing, and there are many.
        kind.resource.kind != "Event" && verbs.iter().all(|verb| kind.supports(verb))
    };
    let found: BTreeMap<(String, String), Discovered> = found
        .into_iter()
        .filter(wanted)
        .map(|kind| ((kind.resource.api_version.clone(), kind.resource.kind.clone()), kind))
        .collect();
    tokens.retain(|key, token| {
        let stays = found.contains_key(key);
        if !stays {
            token.cancel();
        }
        stays
    });
    let mut new = 0;
    for (key, kind) in &found {
        if tokens.contains_key(key) {
            continue;
        }
        let own = token.child_token();
        watches.spawn(watch_kind(collector.clone(), kind.clone(), own.clone()));
        tokens.insert(key.clone(), own);
        new += 1;
    }
    let mut kinds = collector.kinds.write();
    kinds.known = found;
    kinds.unsynced.send_modify(|left| *left = Some(left.unwrap_or(0) + new));
}

async fn watch_kind(collector: Arc<Collector>, kind: Discovered, token: CancellationToken) {
    let source = Source { path: kind.path(""), metadata_only: true, ..Source::default() };
    let mut reflector = Reflector::<MetaObject>::new(collector.client.clone(), source);
    let api_version: Arc<str> = kind.resource.api_version.as_str().into();
    let name: Arc<str> = kind.resource.kind.as_str().into();
    let identity = |object: &MetaObject| {
        let key = object.key();
        Identity {
            api_version: api_version.clone(),
            kind: name.clone(),
            namespace: key.namespace.into(),
            name: key.name.into(),
        }
    };
    let mut synced = false;
    while let Some((delta, _)) = token.run_until_cancelled(reflector.next()).await {
        match delta {
            Delta::Applied(object) => {
                let items = collector.graph.lock().observe(&identity(&object), &object.metadata);
                collector.enqueue(items);
            }
            Delta::Deleted(object) => {
                let items = collector.graph.lock().remove(object.uid());
                collector.enqueue(items);
            }
            Delta::Restarted(objects) => {
                let listed: BTreeSet<_> = objects.iter().map(uid_of).collect();
                let mut graph = collector.graph.lock();
                let mut items: Vec<Item> = Vec::new();
                // What is not listed may be gone, or newer than the list: it is looked at.
                let seen = graph.seen_of_kind(&api_version, &name);
                items
                    .extend(seen.into_iter().filter(|uid| !listed.contains(uid)).map(Item::Delete));
                for object in &objects {
                    items.extend(graph.observe(&identity(object), &object.metadata));
                }
                drop(graph);
                collector.enqueue(items);
                if !std::mem::replace(&mut synced, true) {
                    leave_unsynced(&collector);
                }
            }
            Delta::Progress => {}
        }
    }
    if !synced {
        leave_unsynced(&collector);
    }
}

fn leave_unsynced(collector: &Collector) {
    let kinds = collector.kinds.read();
    kinds.unsynced.send_modify(|left| *left = left.map(|left| left.saturating_sub(1)));
}
