//! What the connections under test are served by.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full};
use keelson_http2::{Body, Config, Connection, ConnectionError, Head, Service, Unary};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

/// Counts what was done for a client.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Chunks of endless answers that were made.
    pub(crate) chunks: AtomicU64,
    /// Answers under way that were given up.
    pub(crate) given_up: AtomicU64,
    /// Messages that were taken whole.
    pub(crate) whole: AtomicU64,
}

/// Answers by path; `/unary` takes messages whole and gives them back.
#[derive(Clone, Default)]
pub(crate) struct Echo(pub(crate) Arc<Counts>);

/// What an endless answer is made of.
pub(crate) const CHUNK: usize = 10_000;

pub(crate) struct Endless(Arc<Counts>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        self.0.chunks.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; CHUNK])))))
    }
}

struct GivenUp(Arc<Counts>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Ordering::SeqCst);
    }
}

type Answer = Either<http_body_util::combinators::BoxBody<Bytes, String>, Endless>;

fn full(bytes: Bytes, trailers: Option<HeaderMap>) -> Answer {
    let body = Full::new(bytes).map_err(|never| match never {});
    Either::Left(body.with_trailers(std::future::ready(trailers.map(Ok))).boxed())
}

impl Service for Echo {
    type Route = ();
    type Body = Answer;

    fn route(&self, head: &Head) -> Option<()> {
        (&head.path[..] == b"/unary" && head.is_grpc()).then_some(())
    }

    fn unary(&self, (): (), message: Bytes) -> BoxFuture<'static, Unary<Answer>> {
        self.0.whole.fetch_add(1, Ordering::SeqCst);
        async move {
            if &message[..] == b"refuse" {
                let mut response = Response::new(full(Bytes::new(), None));
                response.headers_mut().insert("grpc-status", 5.into());
                return Unary::Refused(response);
            }
            // As many bytes as asked for, else the same again.
            let size = std::str::from_utf8(&message).ok().and_then(|text| text.parse().ok());
            let answer = size.map_or(message, |size| Bytes::from(vec![9; size]));
            let mut out = BytesMut::new();
            out.put_u8(0);
            out.put_u32(u32::try_from(answer.len()).unwrap());
            out.put_slice(&answer);
            Unary::Answer(out.freeze())
        }
        .boxed()
    }

    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Answer>> {
        let counts = self.0.clone();
        async move {
            match request.uri().path() {
                "/endless" => Response::new(Either::Right(Endless(counts))),
                "/never" => {
                    let _given_up = GivenUp(counts);
                    std::future::pending().await
                }
                "/unread" => {
                    let _body = request;
                    std::future::pending().await
                }
                "/where" => {
                    let text = request.uri().to_string();
                    Response::new(full(text.into(), None))
                }
                _ => match request.into_body().collect().await {
                    Ok(body) => {
                        let trailers = HeaderMap::from_iter([(
                            http::HeaderName::from_static("after"),
                            http::HeaderValue::from_static("all"),
                        )]);
                        Response::new(full(body.to_bytes(), Some(trailers)))
                    }
                    Err(_) => {
                        let mut response = Response::new(full(Bytes::new(), None));
                        *response.status_mut() = StatusCode::BAD_REQUEST;
                        response
                    }
                },
            }
        }
        .boxed()
    }
}

/// A connection that is served, and its other end.
pub(crate) fn served(
    echo: &Echo,
    config: Config,
) -> (DuplexStream, JoinHandle<Result<(), ConnectionError>>) {
    let (client, server) = tokio::io::duplex(64 << 10);
    let connection = Connection::new(server, &[], echo.clone(), config);
    (client, tokio::spawn(connection))
}
