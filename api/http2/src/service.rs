//! What a connection is served by.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};

use crate::body::Body;
use crate::head::Head;

/// Answers the requests of a connection.
pub trait Service: Send + 'static {
    /// What is known of a unary call before its message has come.
    type Route: Clone + Send;
    /// Bodies of responses.
    type Body: http_body::Body<Data = Bytes, Error: std::fmt::Display> + Unpin + Send;

    /// Whether calls with this head are to come as whole messages. Asked once for a head that a
    /// client repeats, so it must depend on the head alone.
    fn route(&self, head: &Head) -> Option<Self::Route>;

    /// Answers one message, which came whole and not compressed, with one message. Dropped if the
    /// client gives it up.
    fn unary(&self, route: Self::Route, message: Bytes) -> BoxFuture<'static, Unary<Self::Body>>;

    /// Answers everything else. Dropped if the client gives it up.
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Self::Body>>;
}

/// How a unary call ends.
#[derive(Debug)]
pub enum Unary<B> {
    /// Well: with this message, in gRPC's frame (a byte for compression, four for the length).
    Answer(Bytes),
    /// With a response that says why not.
    Refused(Response<B>),
}
