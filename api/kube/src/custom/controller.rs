//! The controller of definitions: serves what is established, accepts names, removes the objects
//! of definitions that are deleted.
//!
//! It looks at all definitions whenever one changes. A kind is served here before its condition
//! says so; another API server that does not know it yet looks again before it says no.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{DEFINITIONS, accept, cleanup};
use crate::cache::{Cache, Object};
use crate::context::Context;
use crate::status::Status;
use crate::storage::stored_bytes;
use crate::verbs::guarded::now;

/// Follows the definitions until the server stops.
pub(crate) async fn run(cx: Arc<Context>) {
    let stop = cx.stop.clone();
    tokio::select! {
        () = follow(cx) => {}
        () = stop.cancelled() => {}
    }
}

async fn follow(cx: Arc<Context>) {
    let cache = match cx.caches.of(DEFINITIONS).await {
        Ok(cache) => cache,
        Err(error) => {
            tracing::error!(%error, "definitions of custom resources cannot be read");
            return;
        }
    };
    let cleaning: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    loop {
        let (snapshot, mut cursor) = cache.snapshot_and_watch("");
        refresh(&cx, &snapshot.objects);
        sync(&cx, &snapshot.objects, &cleaning).await;
        cursor.changed().await;
    }
}

/// Serves what is established now.
fn refresh(cx: &Context, objects: &[Arc<Object>]) {
    let all: Vec<_> = objects.iter().map(|o| (o.key.to_string(), o.revision, o.clone())).collect();
    cx.definitions.replace(&all);
}

/// Serves what is established, as of now: for a look-up that found nothing.
pub(crate) async fn look_again(cx: &Context) -> Result<(), Status> {
    let cache = cx.caches.of(DEFINITIONS).await?;
    cx.caches.freshen(&cache).await?;
    refresh(cx, &cache.snapshot("").objects);
    Ok(())
}

async fn sync(cx: &Arc<Context>, objects: &[Arc<Object>], cleaning: &Arc<Mutex<BTreeSet<String>>>) {
    let pending = objects.iter().any(|o| !is_settled(cx, o) || is_going(cx, o));
    if !pending {
        return;
    }
    let mut all: Vec<Value> = objects.iter().map(|o| head(cx, o)).collect();
    for (at, object) in objects.iter().enumerate() {
        if is_going(cx, object) {
            if cleaning.lock().insert(object.key.to_string()) {
                tokio::spawn(cleanup::run(cx.clone(), object.key.to_string(), cleaning.clone()));
            }
            continue;
        }
        if is_settled(cx, object) {
            continue;
        }
        let Some(new) = accept::accept(&object.value(), &all, &now()) else { continue };
        all[at] = new.clone();
        let key = format!("{}{DEFINITIONS}/{}", crate::storage::ROOT, object.key);
        let bytes = stored_bytes(&new);
        if let Err(error) = cx.storage.update(&key, object.revision, bytes, 0).await {
            tracing::warn!(%error, name = %object.key, "a definition's status was not written");
        }
    }
}

/// Whether the definition has the names it wants; then there is nothing to decide.
fn is_settled(cx: &Context, object: &Object) -> bool {
    cx.definitions.settled(&object.key, object.revision)
}

fn is_going(cx: &Context, object: &Object) -> bool {
    cx.definitions.definition(&object.key).is_some_and(|d| d.going)
}

/// What other definitions need to know of one.
fn head(cx: &Context, object: &Object) -> Value {
    let Some(known) = cx.definitions.definition(&object.key) else { return Value::Null };
    json!({"spec": {"group": known.group}, "status": {"acceptedNames": {
        "plural": known.plural, "singular": known.singular, "shortNames": known.short_names,
        "kind": known.kind, "listKind": known.list_kind,
    }}})
}

/// Starts with what is there: to be called before requests are answered.
pub(crate) fn load(registry: &super::Registry, cache: &Cache) {
    let objects = cache.snapshot("").objects;
    let all: Vec<_> = objects.iter().map(|o| (o.key.to_string(), o.revision, o.clone())).collect();
    registry.replace(&all);
}
