//! Reviews: questions about users and permissions, answered and never stored.

mod access;
mod rules;
mod users;

use http::Response;
use serde_json::{Value, json};

use crate::call::Call;
use crate::input;
use crate::respond;
use crate::server::Body;
use crate::status::Status;

/// Whether the call's kind is a review.
pub(crate) fn is_review(call: &Call) -> bool {
    matches!(call.kind.group, "authorization.k8s.io" | "authentication.k8s.io")
}

/// POST of a review: the question comes back with its answer in the status.
pub(crate) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let schema = call.kind.schema;
    let mut review = input::other(&mut call, schema).await?;
    let status = match call.kind.kind {
        "SelfSubjectAccessReview" => access::own(&call, &review["spec"]).await?,
        "SubjectAccessReview" => access::of_subject(&call, &review["spec"]).await?,
        "LocalSubjectAccessReview" => access::local(&call, &review["spec"]).await?,
        "SelfSubjectRulesReview" => rules::own(&call, &review["spec"])?,
        "SelfSubjectReview" => json!({"userInfo": call.user.to_value()}),
        "TokenReview" => users::token(&call, &review["spec"]).await?,
        _ => return Err(Status::method_not_served()),
    };
    review["kind"] = json!(call.kind.kind);
    review["apiVersion"] = json!(respond::api_version(call.kind));
    if !review["metadata"].is_object() {
        review["metadata"] = json!({});
    }
    review["metadata"]["creationTimestamp"] = Value::Null;
    review["status"] = status;
    respond::value(call.accepted()?, 201, &review)
}
