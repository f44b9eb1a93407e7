//! `/debug/vars`: what Go's expvar shows of etcd.

use ::http::StatusCode;
use serde_json::json;

use super::text;
use crate::grpc::Outgoing;

pub(super) fn vars() -> Outgoing {
    let arguments: Vec<String> = std::env::args().collect();
    let limit = crate::metrics::descriptor_limit();
    let body = format!(
        "{{\n\"cmdline\": {},\n\"file_descriptor_limit\": {limit},\n\"memstats\": {}\n}}\n",
        json!(arguments),
        json!({ "Sys": crate::metrics::resident_bytes().unwrap_or(0) })
    );
    text(StatusCode::OK, "application/json; charset=utf-8", body)
}
