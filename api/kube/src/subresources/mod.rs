//! Paths below an object: parts of it, actions on it, and streams to it.

mod binding;
mod eviction;
mod part;
mod scale;
mod token;

use http::Response;

use crate::call::Call;
use crate::server::Body;
use crate::status::Status;
use crate::stream;

pub(crate) use binding::bind_from_collection;

/// Runs a call on a subresource.
pub(crate) async fn run(call: Call) -> Result<Response<Body>, Status> {
    let served =
        call.kind.subresource(&call.info.subresource).ok_or_else(Status::unknown_resource)?;
    let verb = call.info.verb.as_str();
    if !served.verbs.contains(&verb) || call.info.name.is_empty() {
        return Err(Status::method_not_served());
    }
    match (served.name, verb) {
        ("scale", _) => scale::run(call).await,
        ("binding", "create") => binding::run(call).await,
        ("eviction", "create") => eviction::run(call).await,
        ("token", "create") => token::run(call).await,
        ("log" | "exec" | "attach" | "portforward" | "proxy", _) => stream::run(call).await,
        _ => part::run(call).await,
    }
}
