//! deletecollection: every object of a collection that the selectors select.

use std::sync::Arc;

use http::Response;

use crate::cache::Object;
use crate::call::Call;
use crate::conversion;
use crate::respond::{self, ListMeta};
use crate::server::Body;
use crate::status::Status;
use crate::verbs::delete::delete_object;
use crate::verbs::list::{Filter, collection_prefix};
use crate::verbs::options::DeleteOptions;

/// DELETE of a collection; answers what was deleted.
pub(crate) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let options = DeleteOptions::of(&mut call).await?;
    let filter = Filter::of(&call)?;
    let cache = call.cx.caches.of(call.kind.storage_prefix).await?;
    call.cx.caches.freshen(&cache).await?;
    let snapshot = cache.snapshot(&collection_prefix(&call));
    let mut gone: Vec<Arc<Object>> = Vec::new();
    for object in snapshot.objects.iter().filter(|o| filter.matches(o)) {
        let (namespace, name) = object.key.rsplit_once('/').unwrap_or(("", &object.key));
        match delete_object(&call, call.kind, namespace, name, &options).await {
            Ok(done) => {
                gone.push(Arc::new(Object::new(object.key.clone(), object.revision, done.wire)));
            }
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let meta = ListMeta { revision: cache.revision(), ..ListMeta::default() };
    let gone = conversion::fetched_objects(&call.cx, call.kind, gone).await?;
    respond::list(&call, gone, &meta)
}
