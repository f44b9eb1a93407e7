//! The verbs: one file each, none knows a kind by name.

pub(crate) mod create;
pub(crate) mod delete;
mod delete_collection;
pub(crate) mod get;
pub(crate) mod guarded;
pub(crate) mod list;
pub(crate) mod options;
pub(crate) mod patch;
pub(crate) mod update;
mod watch;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Response;

use crate::call::Call;
use crate::server::Body;
use crate::status::Status;
use crate::{reviews, subresources};

pub(crate) use create::generate_name;
pub(crate) use guarded::guarded_update;
pub(crate) use options::Propagation;

type Run = fn(Call) -> BoxFuture<'static, Result<Response<Body>, Status>>;

/// One verb.
struct Verb {
    name: &'static str,
    run: Run,
}

/// All verbs on objects and collections.
const VERBS: &[Verb] = &[
    Verb { name: "create", run: |call| create::run(call).boxed() },
    Verb { name: "delete", run: |call| delete::run(call).boxed() },
    Verb { name: "deletecollection", run: |call| delete_collection::run(call).boxed() },
    Verb { name: "get", run: |call| get::run(call).boxed() },
    Verb { name: "list", run: |call| list::run(call).boxed() },
    Verb { name: "patch", run: |call| patch::run(call).boxed() },
    Verb { name: "update", run: |call| update::run(call).boxed() },
    Verb { name: "watch", run: |call| watch::run(call).boxed() },
];

/// Runs a call's verb.
pub(crate) async fn run(call: Call) -> Result<Response<Body>, Status> {
    if !call.info.subresource.is_empty() {
        return subresources::run(call).await;
    }
    if call.info.verb == "create" && call.info.name.is_empty() {
        if reviews::is_review(&call) {
            return reviews::run(call).await;
        }
        if call.kind.group.is_empty() && call.kind.plural == "bindings" {
            return subresources::bind_from_collection(call).await;
        }
    }
    let served = call.kind.serves(&call.info.verb);
    let place = match call.info.verb.as_str() {
        "create" => call.info.name.is_empty(),
        "get" | "update" | "patch" | "delete" => !call.info.name.is_empty(),
        _ => true,
    };
    match VERBS.iter().find(|verb| served && place && verb.name == call.info.verb) {
        Some(verb) => (verb.run)(call).await,
        None => Err(Status::method_not_served()),
    }
}
