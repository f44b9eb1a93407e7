//! Callers in the same process: a tower service whose user is given by type.
//!
//! The user travels as an extension of a private type, so nothing that comes over a socket can
//! set or change it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};

use super::body::{Body, BoxError, request_body};
use crate::context::Context;
use crate::handler;
use crate::user::UserInfo;

/// The user of a request that did not come over a socket.
#[derive(Clone)]
pub(crate) struct InProcessUser(pub(crate) Arc<UserInfo>);

/// The API server as a service for one user of this process.
#[derive(Clone)]
pub struct InProcess {
    context: Arc<Context>,
    user: Arc<UserInfo>,
}

impl InProcess {
    pub(crate) fn new(context: Arc<Context>, user: UserInfo) -> Self {
        InProcess { context, user: Arc::new(user) }
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(request_body);
        request.extensions_mut().insert(InProcessUser(self.user.clone()));
        let context = self.context.clone();
        Box::pin(async move { Ok(handler::handle(&context, request).await) })
    }
}
