//! Parts of an object that are written through a path of their own: status, finalize, approval, …

use http::Response;

use crate::call::Call;
use crate::server::Body;
use crate::status::Status;
use crate::verbs;

/// Reads the whole object; writes the part.
pub(super) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let part = call.info.subresource.clone();
    match call.info.verb.as_str() {
        "get" => verbs::get::run(call).await,
        "update" => {
            let dry_run = call.is_dry_run()?;
            let new = verbs::update::decode_body(&mut call).await?;
            verbs::update::replace(call, &part, new, dry_run).await
        }
        "patch" => verbs::patch::patch_part(call, &part).await,
        _ => Err(Status::method_not_served()),
    }
}
