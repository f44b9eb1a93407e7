//! Audit-ID: one id for each request, taken from the client when it sends one.

use http::{HeaderMap, HeaderName, HeaderValue};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The id of a request.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    headers.get(AUDIT_ID).cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
            .unwrap_or(HeaderValue::from_static("unknown"))
    })
}

/// Tells the client.
pub(crate) fn set(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(AUDIT_ID, id);
}
