//! Discovery of the issuer of service-account tokens.

use http::Response;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::json;

use crate::context::Context;
use crate::respond;
use crate::server::Body;

const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// /.well-known/openid-configuration
pub(super) fn configuration(cx: &Context) -> Response<Body> {
    let config = &cx.config;
    let jwks = config.service_account_jwks_uri.clone().unwrap_or_else(|| {
        let host = match config.advertise_address {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("https://{host}:{}/openid/v1/jwks", config.advertise_port)
    });
    let document = json!({
        "issuer": cx.tokens.issuer, "jwks_uri": jwks, "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": cx.tokens.keys().algorithms(),
    });
    cached(respond::json_value(200, &document))
}

/// /openid/v1/jwks
pub(super) fn keys(cx: &Context) -> Response<Body> {
    let text = cx.tokens.keys().jwks().to_string();
    cached(respond::bytes(200, "application/jwk-set+json", text))
}

fn cached(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, CACHED);
    response
}
