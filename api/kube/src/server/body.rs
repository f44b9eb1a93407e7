//! Bodies: what comes in as one boxed type, and what goes out without copying shared bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited};

use crate::cache::Object;
use crate::status::Status;

/// Any error of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A request's body, wherever it comes from.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// Largest request body.
pub(crate) const REQUEST_BYTES_MAX: usize = 3 << 20;
/// Lists are handed to the connection in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;

/// A response's body.
pub struct Body(Kind);

enum Kind {
    Full(Option<Bytes>),
    List(List),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>),
    Foreign(UnsyncBoxBody<Bytes, BoxError>),
}

/// A list that is put together while it is sent.
struct List {
    head: Option<Bytes>,
    objects: std::vec::IntoIter<Arc<Object>>,
    first: bool,
    tail: Option<Bytes>,
}

impl Body {
    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Body(Kind::Full(Some(bytes.into())))
    }

    /// No bytes.
    pub fn empty() -> Self {
        Body(Kind::Full(None))
    }

    /// `head`, the objects with commas between them, `tail`.
    pub(crate) fn list(head: Bytes, objects: Vec<Arc<Object>>, tail: Bytes) -> Self {
        let objects = objects.into_iter();
        Body(Kind::List(List { head: Some(head), objects, first: true, tail: Some(tail) }))
    }

    /// Bytes as they come.
    pub(crate) fn stream(
        stream: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    ) -> Self {
        Body(Kind::Stream(Box::pin(stream)))
    }

    /// A body that another server sends.
    pub(crate) fn foreign<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Body(Kind::Foreign(body.map_err(Into::into).boxed_unsync()))
    }
}

impl List {
    fn next_piece(&mut self) -> Option<Bytes> {
        let mut piece = match self.head.take() {
            Some(head) => BytesMut::from(&head[..]),
            None => BytesMut::new(),
        };
        for object in self.objects.by_ref() {
            if !self.first {
                piece.extend_from_slice(b",");
            }
            self.first = false;
            piece.extend_from_slice(&object.wire);
            if piece.len() >= PIECE_BYTES {
                return Some(piece.freeze());
            }
        }
        if let Some(tail) = self.tail.take() {
            piece.extend_from_slice(&tail);
        }
        (!piece.is_empty()).then(|| piece.freeze())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Kind::List(list) => Poll::Ready(list.next_piece().map(|b| Ok(Frame::data(b)))),
            Kind::Stream(stream) => {
                stream.as_mut().poll_next(cx).map(|item| item.map(|r| r.map(Frame::data)))
            }
            Kind::Foreign(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::List(list) => list.tail.is_none(),
            Kind::Stream(_) => false,
            Kind::Foreign(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Kind::Full(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            _ => http_body::SizeHint::default(),
        }
    }
}

/// Boxes a request's body.
pub(crate) fn request_body<B>(body: B) -> RequestBody
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// An empty request body, left where a body was taken.
pub(crate) fn no_body() -> RequestBody {
    http_body_util::Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Reads a whole request body, up to the limit.
pub(crate) async fn read(body: RequestBody) -> Result<Bytes, Status> {
    // Boxed: its type is too deep for the compiler to see that callers' futures are Send.
    let collected: BoxFuture<'static, _> = Limited::new(body, REQUEST_BYTES_MAX).collect().boxed();
    match collected.await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Status::too_large(REQUEST_BYTES_MAX))
        }
        Err(error) => Err(Status::bad_request(format!("cannot read the request body: {error}"))),
    }
}
