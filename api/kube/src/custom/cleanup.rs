//! The end of a definition: its objects go first, then the finalizer that waited for them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

use super::{CLEANUP, DEFINITIONS, accept};
use crate::context::Context;
use crate::deletion::{self, Plan, Wanted};
use crate::kinds::Kind;
use crate::status::Status;
use crate::storage::{ROOT, Stored, Written, stored_bytes, stored_value};
use crate::verbs::guarded::now;

/// Pause after a failure, and the longest wait for finalizers of objects before another look.
const AGAIN: Duration = Duration::from_secs(1);

/// Removes the objects of a definition that is being deleted, and then lets it go.
pub(crate) async fn run(cx: Arc<Context>, name: String, cleaning: Arc<Mutex<BTreeSet<String>>>) {
    let stop = cx.stop.clone();
    let work = async {
        loop {
            match clean(&cx, &name).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, name, "objects of a definition stay"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
    cleaning.lock().remove(&name);
}

/// True when there is nothing more to do.
async fn clean(cx: &Context, name: &str) -> Result<bool, Status> {
    let key = format!("{ROOT}{DEFINITIONS}/{name}");
    let Some(definition) = read(cx, &key).await? else { return Ok(true) };
    if !waits(&definition.1) {
        return Ok(true);
    }
    let set = |object: &mut Value, status: &str, reason: &str, message: &str| {
        accept::set(object, "Terminating", status, reason, message, &now());
    };
    change(cx, &key, |object| {
        set(object, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
    })
    .await?;
    if let Some(kind) = kind_of(&definition.1) {
        while remove_all(cx, &kind).await? > 0 {
            let cache = cx.caches.of(kind.storage_prefix).await?;
            let (_, mut cursor) = cache.snapshot_and_watch("");
            let _ = tokio::time::timeout(AGAIN, cursor.changed()).await;
        }
    }
    change(cx, &key, |object| {
        set(object, "False", "InstanceDeletionCompleted", "removed all instances");
        if let Some(list) = object["metadata"]["finalizers"].as_array_mut() {
            list.retain(|f| f != CLEANUP);
        }
    })
    .await
}

/// What deletion needs to know of the kind; its names in the store are those of the definition.
fn kind_of(definition: &Value) -> Option<Kind> {
    let spec = &definition["spec"];
    let prefix = format!("{}/{}", spec["group"].as_str()?, spec["names"]["plural"].as_str()?);
    // A definition is deleted once in its life, so that this stays small.
    Some(Kind { storage_prefix: prefix.leak(), ..Kind::DEFAULT })
}

/// Deletes every object; answers how many are left because of their finalizers.
async fn remove_all(cx: &Context, kind: &Kind) -> Result<usize, Status> {
    let cache = cx.caches.of(kind.storage_prefix).await?;
    cx.caches.freshen(&cache).await?;
    let wanted = Wanted { grace_seconds: None, propagation: None };
    let mut left = 0;
    for object in cache.snapshot("").objects {
        let key = format!("{ROOT}{}/{}", kind.storage_prefix, object.key);
        loop {
            let Some((stored, value)) = read(cx, &key).await? else { break };
            let written = match deletion::plan(kind, &value, wanted, Timestamp::now()) {
                Plan::Remove => cx.storage.delete(&key, stored.revision).await?,
                Plan::Write(new) => {
                    left += 1;
                    cx.storage.update(&key, stored.revision, stored_bytes(&new), 0).await?
                }
                Plan::Nothing => {
                    left += 1;
                    break;
                }
            };
            if matches!(written, Written::Done(_)) {
                break;
            }
        }
    }
    Ok(left)
}

/// Changes a definition; removes it when it is due. True: it is gone.
async fn change(cx: &Context, key: &str, edit: impl Fn(&mut Value)) -> Result<bool, Status> {
    loop {
        let Some((stored, value)) = read(cx, key).await? else { return Ok(true) };
        let mut new = value.clone();
        edit(&mut new);
        let due = new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let written = if due {
            cx.storage.delete(key, stored.revision).await?
        } else if new == value {
            return Ok(false);
        } else {
            cx.storage.update(key, stored.revision, stored_bytes(&new), 0).await?
        };
        if matches!(written, Written::Done(_)) {
            return Ok(due || !waits(&new));
        }
    }
}

async fn read(cx: &Context, key: &str) -> Result<Option<(Stored, Value)>, Status> {
    let stored = cx.storage.get(key).await?;
    Ok(stored.and_then(|s| stored_value(&s.value, s.revision).map(|v| (s, v))))
}

/// Whether the definition is being deleted and waits for its objects.
fn waits(definition: &Value) -> bool {
    let finalizers = definition["metadata"]["finalizers"].as_array();
    !definition["metadata"]["deletionTimestamp"].is_null()
        && finalizers.is_some_and(|list| list.iter().any(|f| f == CLEANUP))
}
