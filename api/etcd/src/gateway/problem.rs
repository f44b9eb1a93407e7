//! Errors in the gateway's form.

use ::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::Full;
use tonic::body::Body;
use tonic::{Code, Status};

use super::output::{for_html, quoted};
use crate::grpc::Outgoing;

/// The HTTP status that stands for a code.
// upstream: grpc-gateway v2, `HTTPStatusFromCode`
pub(super) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a call that failed.
pub(crate) fn response(status: &Status) -> Outgoing {
    let mut response = json(http_status(status.code()), body(status));
    if status.code() == Code::Unauthenticated
        && let Ok(text) = HeaderValue::from_str(status.message())
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, text);
    }
    response
}

/// The line that ends a stream.
pub(super) fn line(status: &Status) -> String {
    for_html(format!("{{\"error\":{}}}\n", body(status)))
}

fn body(status: &Status) -> String {
    let mut parts = Vec::new();
    if status.code() != Code::Ok {
        parts.push(format!("\"code\":{}", status.code() as i32));
    }
    if !status.message().is_empty() {
        parts.push(format!("\"message\":{}", quoted(status.message())));
    }
    format!("{{{}}}", parts.join(","))
}

/// A whole answer.
pub(super) fn json(status: StatusCode, body: String) -> Outgoing {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
