//! `GET /v3/watch/sse`: a watch as server-sent events, for programs without gRPC.
//!
//! One watcher a request, by the same hub and under the same permissions as Watch. Nothing is made before
//! the connection takes it: a client that does not read has its watcher fall behind, and no more.

mod feed;
mod filter;
mod id;
mod query;

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::gateway::refusal;
use crate::grpc::{Incoming, Outgoing};
use feed::Feed;
use query::Query;

/// Where it is asked for.
pub(crate) const PATH: &str = "/v3/watch/sse";
/// The id of the last event that a client has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// Answers with events until there is a reason to end. `permit`: none is left where it is missing.
pub(crate) fn answer(
    face: EtcdFace,
    request: &Incoming,
    permit: Option<OwnedSemaphorePermit>,
    stop: CancellationToken,
) -> Outgoing {
    if request.method() != Method::GET {
        let mut response = refusal(&Status::unimplemented("Method Not Allowed"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let last = request.headers().get(LAST_EVENT_ID).map(HeaderValue::as_bytes);
    let query = match Query::parse(request.uri().query().unwrap_or_default(), last) {
        Ok(query) => query,
        Err(error) => return refusal(&Status::new(Code::InvalidArgument, error.to_string())),
    };
    let Some(permit) = permit else {
        return refusal(&Status::resource_exhausted(FaceError::TooManyRequests.to_string()));
    };
    match open(face, query, stop) {
        Ok(feed) => streamed(feed, permit),
        Err(error) => refusal(&error.status()),
    }
}

fn open(face: EtcdFace, query: Query, stop: CancellationToken) -> Result<Feed, FaceError> {
    if face.node().is_learner() {
        return Err(FaceError::Learner);
    }
    if face.leader().is_none() {
        return Err(FaceError::NoLeader);
    }
    let _running_watches_are_not_asked_again =
        face.authorize(|auth, by| auth.may_read(by, &query.key, &query.range_end))?;
    Ok(Feed::new(face, query, stop))
}

fn streamed(feed: Feed, permit: OwnedSemaphorePermit) -> Outgoing {
    let pieces = stream::unfold((feed, permit), |(mut feed, permit)| async move {
        let piece = feed.next().await?;
        Some((Ok::<Frame<Bytes>, Infallible>(Frame::data(piece)), (feed, permit)))
    });
    let mut response = Response::new(Body::new(StreamBody::new(pieces)));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Proxies pass on what they have.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
