//! Ended: a stream of answers that counts its call when it ends, and how.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Bytes;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::face::EtcdFace;
use crate::grpc::{Outgoing, code_of};
use crate::metrics::Method;

/// Counts the call of a response: at once if it is all there, else at its end.
pub(crate) fn counted(
    face: EtcdFace,
    method: Method,
    began: Instant,
    response: Outgoing,
) -> Outgoing {
    if response.headers().contains_key("grpc-status") {
        face.metrics().handled(method, code_of(&response), began.elapsed());
        return response;
    }
    response.map(|body| Body::new(Ended { body, face, method, began, code: Code::Cancelled }))
}

struct Ended {
    body: Body,
    face: EtcdFace,
    method: Method,
    began: Instant,
    /// The client has gone, unless something else is said.
    code: Code,
}

impl HttpBody for Ended {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let trailers = frame.trailers_ref();
                if let Some(code) = trailers.and_then(|trailers| trailers.get("grpc-status")) {
                    self.code = Code::from_bytes(code.as_bytes());
                }
            }
            Poll::Ready(Some(Err(status))) => self.code = status.code(),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.face.metrics().handled(self.method, self.code, self.began.elapsed());
    }
}
