//! Paths that are no resources: health, version, metrics, keys, discovery, OpenAPI.

mod discovery;
mod health;
mod openid;
mod version;

use std::sync::Arc;

use http::{HeaderMap, Method, Response};

use crate::context::Context;
use crate::request_info::{Query, RequestInfo};
use crate::respond;
use crate::server::Body;
use crate::status::Status;

/// Answers a request to a path that is no resource.
pub(crate) async fn answer(
    cx: &Arc<Context>,
    info: &RequestInfo,
    query: &Query,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, Status> {
    let path = info.path.trim_end_matches('/');
    if !matches!(method, Method::GET | Method::HEAD) {
        return Ok(respond::bytes(405, "text/plain; charset=utf-8", "405 method not allowed\n"));
    }
    let mut segments = path.trim_start_matches('/').splitn(2, '/');
    let (first, rest) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    let found = match first {
        "" => Some(index()),
        "healthz" | "livez" | "readyz" => health::answer(cx, first, rest, query).await,
        "version" if rest.is_empty() => Some(version::answer()),
        "metrics" if rest.is_empty() => {
            let text = cx.metrics.text(&cx.caches);
            Some(respond::bytes(200, "text/plain; version=0.0.4; charset=utf-8", text))
        }
        ".well-known" if rest == "openid-configuration" => Some(openid::configuration(cx)),
        "openid" if rest == "v1/jwks" => Some(openid::keys(cx)),
        "openapi" => discovery::open_api(cx, rest, query, &headers),
        "api" | "apis" => discovery::api(cx, first, rest, &headers),
        _ => None,
    };
    // Kubernetes answers unknown paths in plain text; clients turn that into their own error.
    Ok(found.unwrap_or_else(|| {
        respond::bytes(404, "text/plain; charset=utf-8", "404 page not found\n")
    }))
}

fn index() -> Response<Body> {
    let paths = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    respond::json_value(200, &serde_json::json!({ "paths": paths }))
}
