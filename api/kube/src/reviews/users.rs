//! Token review: whose token is it?

use serde_json::{Value, json};

use crate::call::Call;
use crate::status::Status;

/// The user of the spec's token.
pub(super) async fn token(call: &Call, spec: &Value) -> Result<Value, Status> {
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut wanted: Vec<String> = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    if wanted.is_empty() {
        wanted = call.cx.tokens.audiences().to_vec();
    }
    Ok(match call.cx.tokens.authenticate(token, &wanted, &call.cx.caches).await {
        Some((user, audiences)) => {
            json!({"authenticated": true, "user": user.to_value(), "audiences": audiences})
        }
        None => {
            json!({"user": {}, "error": "[invalid bearer token, service account token has been invalidated]"})
        }
    })
}
