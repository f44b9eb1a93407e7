//! One call: from HTTP to gRPC's form, through the method, and back.

use std::convert::Infallible;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::frames::{frame, take_message};
use super::schema::{Method as Shape, SCHEMA};
use super::{input, output, paths, problem, websocket};
use crate::face::EtcdFace;
use crate::grpc::{Incoming, Outgoing};
use crate::routes;

/// How much longer than the request it holds a text in JSON may be.
const TEXT_FACTOR: usize = 4;
/// HTTP headers that become metadata begin so.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// The gateway of one listener; cheap to clone.
#[derive(Clone)]
pub(crate) struct Gateway {
    face: EtcdFace,
    /// In etcd all calls of a listener share one connection to its own server: the next one waits.
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Gateway {
    /// A gateway that holds at most `max_streams` calls at a time.
    pub(crate) fn new(face: EtcdFace, max_streams: u32, stop: CancellationToken) -> Self {
        let permits = usize::try_from(max_streams).unwrap_or(usize::MAX);
        let permits = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { face, permits, stop }
    }

    /// Answers a request below `/v3/`.
    pub(crate) async fn answer(&self, request: Incoming) -> Outgoing {
        if websocket::is_asked_for(request.headers()) {
            return websocket::upgrade(self.clone(), self.stop.clone(), request);
        }
        let (head, body) = request.into_parts();
        if paths::method(head.uri.path()).is_some() && head.method != Method::POST {
            // As grpc-gateway names what HTTP calls 405.
            return problem::response(&Status::unimplemented("Method Not Allowed"));
        }
        self.call(head.uri.path(), &head.headers, body).await
    }

    /// A place among the calls, for one that is none of a method, if there is one now.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Told when the server stops.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Calls the method at `path`.
    pub(super) async fn call(&self, path: &str, headers: &HeaderMap, body: Body) -> Outgoing {
        let found = paths::method(path).and_then(|path| Some((path, SCHEMA.method(path)?)));
        let Some((path, method)) = found else {
            return problem::response(&Status::not_found("Not Found"));
        };
        let Ok(permit) = self.permits.clone().acquire_owned().await else {
            return problem::response(&Status::unavailable("etcdserver: server stopped"));
        };
        let limit = self.face.config().max_request_bytes.saturating_mul(TEXT_FACTOR);
        let body = if method.streams_in {
            Body::new(StreamBody::new(messages(body, &method.input, limit)))
        } else {
            match only_message(body, &method.input, limit).await {
                Ok(message) => Body::new(Full::new(frame(&message))),
                Err(status) => return problem::response(&status),
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = ::http::Uri::from_static(path);
        *request.headers_mut() = metadata(headers);
        let response = routes::grpc(self.face.clone(), request).await;
        let mut response = if method.streams_out {
            streamed(response, method, permit).await
        } else {
            unary(response, method).await
        };
        let name = HeaderName::from_static("grpc-metadata-content-type");
        response.headers_mut().insert(name, HeaderValue::from_static("application/grpc"));
        response
    }
}

/// What of an HTTP request's headers the method sees.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        let name = match name.as_str() {
            "authorization" | "grpc-timeout" => Some(name.clone()),
            name => name.strip_prefix(METADATA_PREFIX).and_then(|name| name.parse().ok()),
        };
        if let Some(name) = name {
            metadata.append(name, value.clone());
        }
    }
    metadata.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(header::TE, HeaderValue::from_static("trailers"));
    metadata
}

/// The one message of a call that takes one; an empty body is an empty message.
async fn only_message(body: Body, name: &str, limit: usize) -> Result<Vec<u8>, Status> {
    let mut texts = Texts { body, received: Vec::new(), limit };
    let value = texts.next().await?;
    // What follows the first is read, and not looked at.
    while value.is_some() && texts.read_more().await? {
        texts.received.clear();
    }
    match value {
        None => Ok(Vec::new()),
        Some(value) => {
            let message = input::message(name, &value);
            message.map_err(|error| Status::invalid_argument(error.to_string()))
        }
    }
}

/// The messages of a call that takes many, until the client ends or says what is no message.
fn messages(
    body: Body,
    name: &'static str,
    limit: usize,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static {
    let texts = Texts { body, received: Vec::new(), limit };
    stream::unfold(texts, move |mut texts| async move {
        let value = texts.next().await.ok().flatten()?;
        let message = input::message(name, &value).ok()?;
        Some((Ok(Frame::data(frame(&message))), texts))
    })
}

/// JSON values that stand in a body one after the other.
struct Texts {
    body: Body,
    received: Vec<u8>,
    limit: usize,
}

impl Texts {
    async fn next(&mut self) -> Result<Option<Value>, Status> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.received).into_iter();
            match values.next() {
                Some(Ok(value)) => {
                    let read = values.byte_offset();
                    self.received.drain(..read);
                    return Ok(Some(value));
                }
                Some(Err(error)) if !error.is_eof() => {
                    return Err(Status::invalid_argument(error.to_string()));
                }
                Some(Err(_)) | None => {}
            }
            if !self.read_more().await? {
                let is_empty = self.received.iter().all(u8::is_ascii_whitespace);
                return if is_empty {
                    Ok(None)
                } else {
                    Err(Status::invalid_argument("unexpected EOF"))
                };
            }
        }
    }

    /// Reads a piece of the body; false at its end.
    async fn read_more(&mut self) -> Result<bool, Status> {
        loop {
            match self.body.frame().await {
                None => return Ok(false),
                Some(Err(status)) => return Err(Status::cancelled(status.to_string())),
                Some(Ok(piece)) => {
                    let Ok(data) = piece.into_data() else { continue };
                    self.received.extend_from_slice(&data);
                }
            }
            if self.received.len() > self.limit {
                return Err(Status::resource_exhausted(format!(
                    "grpc: received message larger than max ({} vs. {})",
                    self.received.len(),
                    self.limit
                )));
            }
            return Ok(true);
        }
    }
}

/// A method's answers, as they come.
struct Answers {
    body: Body,
    received: BytesMut,
    /// Known before the first answer where the method refuses at once.
    status: Option<Status>,
}

impl Answers {
    fn of(response: Outgoing) -> Self {
        let status = Status::from_header_map(response.headers());
        Self { body: response.into_body(), received: BytesMut::new(), status }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = take_message(&mut self.received) {
                return Ok(Some(message));
            }
            if let Some(status) = self.status.take() {
                return if status.code() == Code::Ok { Ok(None) } else { Err(status) };
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(status)) => return Err(status),
                Some(Ok(piece)) => match piece.into_data() {
                    Ok(data) => self.received.extend_from_slice(&data),
                    Err(piece) => {
                        self.status = piece.trailers_ref().and_then(Status::from_header_map);
                    }
                },
            }
        }
    }
}

async fn unary(response: Outgoing, method: &Shape) -> Outgoing {
    let mut answers = Answers::of(response);
    let (message, ended) = match answers.next().await {
        Ok(Some(message)) => (message, answers.next().await),
        Ok(None) => (Bytes::new(), Err(damaged())),
        Err(status) => (Bytes::new(), Err(status)),
    };
    if let Err(status) = ended {
        return problem::response(&status);
    }
    match output::json(&method.output, &message) {
        Some(body) => problem::json(StatusCode::OK, body),
        None => problem::response(&damaged()),
    }
}

/// One line an answer, sent at once; nothing is sent before the first is there.
async fn streamed(
    response: Outgoing,
    method: &'static Shape,
    permit: OwnedSemaphorePermit,
) -> Outgoing {
    let mut answers = Answers::of(response);
    let (status, first) = match line(answers.next().await, method) {
        Line::Result(line) => (StatusCode::OK, Some((line, Some(answers)))),
        Line::Error(code, line) => (problem::http_status(code), Some((line, None))),
        Line::End => (StatusCode::OK, None),
    };
    let (first, answers) = first.unzip();
    let rest = stream::unfold(answers.flatten(), move |answers| async move {
        let mut answers = answers?;
        match line(answers.next().await, method) {
            Line::Result(line) => Some((line, Some(answers))),
            Line::Error(_, line) => Some((line, None)),
            Line::End => None,
        }
    });
    let lines = stream::iter(first).chain(rest).map(move |line| {
        let _held_until_the_stream_ends = &permit;
        Ok::<_, Infallible>(Frame::data(Bytes::from(line)))
    });
    let mut response = Response::new(Body::new(StreamBody::new(lines)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

enum Line {
    Result(String),
    Error(Code, String),
    End,
}

fn line(answer: Result<Option<Bytes>, Status>, method: &Shape) -> Line {
    let answer = match answer {
        Ok(None) => return Line::End,
        Ok(Some(message)) => output::result_line(&method.output, &message).ok_or_else(damaged),
        Err(status) => Err(status),
    };
    match answer {
        Ok(line) => Line::Result(line),
        Err(status) => Line::Error(status.code(), problem::line(&status)),
    }
}

fn damaged() -> Status {
    Status::internal("the answer is damaged")
}
