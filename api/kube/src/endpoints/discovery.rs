//! /api, /apis and /openapi: which kinds there are.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    LOCATION, VARY,
};
use http::{Response, StatusCode};

use crate::context::Context;
use crate::request_info::Query;
use crate::server::Body;
use crate::{discovery, openapi, respond};

/// `/api…` and `/apis…` without a resource.
pub(super) fn api(
    cx: &Context,
    root: &str,
    rest: &str,
    headers: &HeaderMap,
) -> Option<Response<Body>> {
    let parts: Vec<&str> = rest.split('/').filter(|p| !p.is_empty()).collect();
    if parts.is_empty()
        && let Some(media) = aggregated_media(headers)
    {
        let document = if root == "api" {
            discovery::aggregated_core()
        } else {
            let view = cx.definitions.view();
            view.aggregated.get_or_init(|| discovery::aggregated_groups(&view.kinds)).clone()
        };
        let mut response = tagged(document.bytes.clone(), &document.etag, media, headers);
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        return Some(response);
    }
    let address = match cx.config.advertise_address {
        std::net::IpAddr::V4(ip) => format!("{ip}:{}", cx.config.advertise_port),
        std::net::IpAddr::V6(ip) => format!("[{ip}]:{}", cx.config.advertise_port),
    };
    let view = cx.definitions.view();
    let custom = view.kinds.as_slice();
    let value = match (root, parts.as_slice()) {
        ("api", []) => discovery::api_versions(&address),
        ("api", [version]) => discovery::resource_list(custom, "", version)?,
        ("apis", []) => discovery::group_list(custom),
        ("apis", [group]) => discovery::group(custom, group)?,
        ("apis", [group, version]) => discovery::resource_list(custom, group, version)?,
        _ => return None,
    };
    Some(respond::json_value(200, &value))
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The media type of aggregated discovery, when the client accepts it before plain JSON.
fn aggregated_media(headers: &HeaderMap) -> Option<&'static str> {
    let accept = headers.get(ACCEPT)?.to_str().ok()?;
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        if parts.next() != Some("application/json") {
            continue;
        }
        let parameters: Vec<&str> = parts.filter(|p| !p.starts_with("q=")).collect();
        if !parameters.iter().any(|p| p.starts_with("as=")) {
            return None;
        }
        let wanted = ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"];
        if wanted.iter().all(|w| parameters.contains(w)) {
            return Some(AGGREGATED);
        }
    }
    None
}

/// The media type of version 2 as a protobuf message.
const OPENAPI_MESSAGE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/openapi/…`.
pub(super) fn open_api(
    cx: &Context,
    rest: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Option<Response<Body>> {
    let view = cx.definitions.view();
    if rest == "v2" {
        let accepts = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let (document, media) = match accepts.contains("proto-openapi.spec.v2") {
            true => (openapi::v2_message(), OPENAPI_MESSAGE),
            false => (openapi::v2(), "application/json"),
        };
        return Some(tagged(document.bytes, &document.etag, media, headers));
    }
    let path = rest.strip_prefix("v3")?.trim_start_matches('/');
    if path.is_empty() {
        return Some(respond::bytes(200, "application/json", openapi::v3_index(&view)));
    }
    let document = openapi::v3_doc(&view, path)?;
    if let Some(hash) = query.get("hash")
        && hash != document.etag
    {
        let mut response = respond::bytes(301, "text/plain", "");
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let location = format!("/openapi/v3/{path}?hash={}", document.etag);
        if let Ok(value) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(LOCATION, value);
        }
        return Some(response);
    }
    let accepts = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let packed = accepts.split(',').any(|one| one.trim() == "gzip");
    let bytes = if packed { document.gzip.clone() } else { document.bytes().ok()? };
    let mut response = tagged(bytes, &document.etag, "application/json", headers);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if packed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(response)
}

fn tagged(
    bytes: bytes::Bytes,
    etag: &str,
    media: &'static str,
    headers: &HeaderMap,
) -> Response<Body> {
    let quoted = format!("\"{etag}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = if known == Some(quoted.as_str()) {
        respond::bytes(304, media, "")
    } else {
        respond::bytes(200, media, bytes)
    };
    if let Ok(value) = HeaderValue::from_str(&quoted) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}
