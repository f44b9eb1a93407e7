//! Stream: one request and its answer, from head to end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::Response;
use http_body::Body as _;

use crate::body::Feed;
use crate::frame::Reason;
use crate::head::Head;
use crate::responses::{End, Sender};
use crate::service::{Service, Unary};
use crate::wake::StreamWaker;
use crate::window::Window;

/// A request and what becomes of it.
pub(crate) struct Stream<S: Service> {
    pub(crate) id: u32,
    pub(crate) request: Incoming<S::Route>,
    pub(crate) work: Work<S::Body>,
    /// What the client may send.
    pub(crate) window: Window,
    /// What may still be sent to it.
    pub(crate) send_left: i64,
    /// Not sent yet.
    pub(crate) data: Bytes,
    /// What follows it.
    pub(crate) end: End,
    /// It is in the connection's lists of streams that wait for a window, and for the client.
    pub(crate) is_blocked: bool,
    pub(crate) is_stalled: bool,
    pub(crate) waking: Arc<StreamWaker>,
    pub(crate) waker: Waker,
}

/// What has come of a request.
pub(crate) enum Incoming<R> {
    /// A call whose message is taken whole.
    Message { route: R, head: Arc<Head>, bytes: BytesMut },
    /// A body that somebody reads.
    Fed(Feed),
    /// All of it.
    Ended,
}

/// What is done about it.
pub(crate) enum Work<B> {
    /// Nothing yet.
    Waits,
    Unary(BoxFuture<'static, Unary<B>>),
    Call(BoxFuture<'static, Response<B>>),
    Body(B),
    /// All of the answer is there.
    Done,
}

/// How far a stream is.
pub(crate) enum Progress {
    /// It will wake the connection.
    Waits,
    /// The client's window is closed.
    Blocked,
    /// The client does not read what is sent to it.
    Stalled,
    /// It is answered.
    Finished,
    /// It cannot be.
    Failed(Reason),
}

impl<S: Service> Stream<S> {
    /// Does what can be done now.
    pub(crate) fn drive(&mut self, sender: &mut Sender) -> Progress {
        self.waking.served();
        let waker = self.waker.clone();
        let mut context = Context::from_waker(&waker);
        loop {
            if !sender.send(self.id, &mut self.send_left, &mut self.data, &mut self.end) {
                return Progress::Blocked;
            }
            if matches!(self.end, End::Sent) {
                return Progress::Finished;
            }
            if sender.is_full() {
                return Progress::Stalled;
            }
            match &mut self.work {
                Work::Waits => return Progress::Waits,
                Work::Done => return Progress::Failed(Reason::InternalError),
                Work::Unary(unary) => match unary.as_mut().poll(&mut context) {
                    Poll::Pending => return Progress::Waits,
                    Poll::Ready(Unary::Answer(message)) => {
                        sender.grpc_head(self.id);
                        (self.data, self.end) = (message, End::GrpcOk);
                        self.work = Work::Done;
                    }
                    Poll::Ready(Unary::Refused(response)) => self.respond(response, sender),
                },
                Work::Call(call) => match call.as_mut().poll(&mut context) {
                    Poll::Pending => return Progress::Waits,
                    Poll::Ready(response) => self.respond(response, sender),
                },
                Work::Body(body) => match Pin::new(&mut *body).poll_frame(&mut context) {
                    Poll::Pending => return Progress::Waits,
                    Poll::Ready(None) => self.done(End::Data),
                    Poll::Ready(Some(Err(_))) => return Progress::Failed(Reason::InternalError),
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => {
                            self.data = data;
                            if body.is_end_stream() {
                                self.done(End::Data);
                            }
                        }
                        Err(frame) => {
                            let trailers = frame.into_trailers().unwrap_or_default();
                            self.done(End::Trailers(trailers));
                        }
                    },
                },
            }
        }
    }

    fn done(&mut self, end: End) {
        self.end = end;
        self.work = Work::Done;
    }

    fn respond(&mut self, response: Response<S::Body>, sender: &mut Sender) {
        let (mut parts, body) = response.into_parts();
        let ends = body.is_end_stream();
        if let Some(length) = body.size_hint().exact()
            && !parts.headers.contains_key("grpc-status")
            && !parts.headers.contains_key(http::header::CONTENT_LENGTH)
        {
            parts.headers.insert(http::header::CONTENT_LENGTH, length.into());
        }
        sender.head(self.id, parts.status, &parts.headers, ends);
        match ends {
            true => self.done(End::Sent),
            false => self.work = Work::Body(body),
        }
    }
}

impl<R> Incoming<R> {
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }
}
