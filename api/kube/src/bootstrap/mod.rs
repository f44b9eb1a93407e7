//! Objects that the API server makes and keeps itself.

mod kubernetes_service;
mod objects;
pub(crate) mod rbac;
mod rbac_table;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use crate::context::Context;
use crate::kinds::{self, Kind};
use crate::status::Status;
use crate::storage::{Stored, Written, stored_bytes, stored_value};
use crate::verbs;

/// Objects that are written at once.
const AT_ONCE: usize = 64;
const ATTEMPTS: usize = 8;

/// Makes what is missing and mends what differs.
pub(crate) async fn run(cx: &Arc<Context>) -> Result<(), Status> {
    ensure_all(cx, objects::namespaces()).await?;
    let mut all = objects::all(&cx.config);
    all.extend(rbac::objects());
    ensure_all(cx, all).await?;
    kubernetes_service::ensure(cx).await
}

/// How an object that is there is mended; None leaves it alone.
type Mend = fn(wanted: &Value, old: &Value) -> Option<Value>;

/// An object that must be there.
pub(crate) struct Wanted {
    group: &'static str,
    plural: &'static str,
    object: Value,
    mend: Mend,
}

impl Wanted {
    fn once(group: &'static str, plural: &'static str, object: Value) -> Self {
        Wanted { group, plural, object, mend: |_, _| None }
    }
}

async fn ensure_all(cx: &Context, all: Vec<Wanted>) -> Result<(), Status> {
    futures::stream::iter(all.into_iter().map(|wanted| ensure(cx, wanted)))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
}

async fn ensure(cx: &Context, wanted: Wanted) -> Result<(), Status> {
    let Some(kind) = kinds::find(wanted.group, "v1", wanted.plural) else {
        return Err(Status::internal(format!("no kind {} in the table", wanted.plural)));
    };
    let metadata = &wanted.object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    let key = crate::call::key(kind, namespace, name);
    let cache = cx.caches.of(kind.storage_prefix).await?;
    let relative =
        if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
    let mut seen = cache.get(&relative).map(|o| (o.value(), o.revision));
    for _ in 0..ATTEMPTS {
        let lost = match &seen {
            None => {
                let bytes = stored_bytes(&fresh(kind, &wanted.object));
                cx.storage.create(&key, bytes, 0).await?
            }
            Some((old, revision)) => {
                let Some(new) = (wanted.mend)(&wanted.object, old) else { return Ok(()) };
                cx.storage.update(&key, *revision, stored_bytes(&new), 0).await?
            }
        };
        match lost {
            Written::Done(_) => return Ok(()),
            Written::Lost(now) => {
                seen = now
                    .and_then(|s: Stored| Some((stored_value(&s.value, s.revision)?, s.revision)))
            }
        }
    }
    Err(Status::internal(format!("{key} changes too fast to be mended")))
}

/// A new object as a create would store it.
fn fresh(kind: &Kind, wanted: &Value) -> Value {
    let mut object = wanted.clone();
    object["apiVersion"] = Value::String(crate::respond::api_version(kind));
    object["kind"] = Value::String(kind.kind.to_owned());
    verbs::create::stamp(&mut object, &verbs::guarded::now());
    kind.default(&mut object);
    kind.prepare_create(&mut object);
    object
}
