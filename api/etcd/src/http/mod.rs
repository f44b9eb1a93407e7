//! The HTTP paths beside gRPC.

mod health;
mod version;

use ::http::{Method, Response, StatusCode, header};
use tonic::body::Body;

use crate::face::EtcdFace;
use crate::grpc::{Incoming, Outgoing};
use crate::metrics;

/// Answers one plain HTTP request.
pub(crate) async fn route(face: EtcdFace, request: Incoming) -> Outgoing {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    match path.as_str() {
        "/health" | "/livez" | "/readyz" | "/metrics" | "/version" if !is_read => {
            let mut response =
                text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "Method Not Allowed\n");
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET"));
            response
        }
        "/health" => health::health(&face, &query).await,
        "/version" => version::version(),
        "/metrics" => text(StatusCode::OK, "text/plain; version=0.0.4", metrics::render(&face)),
        path => match path.split('/').collect::<Vec<_>>()[..] {
            ["", "livez"] => health::probe(&face, &health::LIVE, None, &query).await,
            ["", "livez", check] => health::probe(&face, &health::LIVE, Some(check), &query).await,
            ["", "readyz"] => health::probe(&face, &health::READY, None, &query).await,
            ["", "readyz", check] => {
                health::probe(&face, &health::READY, Some(check), &query).await
            }
            _ => text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
        },
    }
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Outgoing {
    let body = http_body_util::Full::new(bytes::Bytes::from(body.into()));
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The values of one name in a query.
fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}
