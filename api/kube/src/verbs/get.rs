//! get: one object.

use http::Response;

use crate::call::Call;
use crate::conversion;
use crate::respond;
use crate::server::Body;
use crate::status::Status;
use crate::storage::wire_bytes;
use crate::verbs::list::parse_revision;

/// GET of an object. Without a resourceVersion it is the newest, else one not older than that.
pub(crate) async fn run(call: Call) -> Result<Response<Body>, Status> {
    let name = call.info.name.clone();
    let missing = || Status::not_found(call.resource(), &name);
    let wire = match call.query.get("resourceVersion") {
        None => {
            let stored = call.cx.storage.get(&call.key(&name)).await?.ok_or_else(missing)?;
            wire_bytes(&stored.value, stored.revision)
        }
        Some(text) => {
            let revision = parse_revision(text)?;
            let cache = call.cx.caches.of(call.kind.storage_prefix).await?;
            call.cx.caches.wait_for(&cache, revision).await?;
            let relative = match call.namespace() {
                "" => name.clone(),
                namespace => format!("{namespace}/{name}"),
            };
            cache.get(&relative).ok_or_else(missing)?.wire.clone()
        }
    };
    let wire = conversion::fetched_wire(&call.cx, call.kind, wire).await?;
    respond::object(&call, 200, wire)
}
