//! Between HTTP/2 and the methods: decoding, deadlines, status.

use std::future::Future;
use std::time::{Duration, Instant};

use http::{Request, Response};
use prost::Message;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::Grpc;
use tonic::{Code, Status, Streaming};
use tower::service_fn;

use crate::codec::Counted;
use crate::ended::counted;
use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::metrics::Method;
use crate::stats;

/// A request as it comes from a connection, or from the JSON gateway.
pub(crate) type Incoming = Request<Body>;
/// An answer to it.
pub(crate) type Outgoing = Response<Body>;

/// What a message may be larger than the largest request.
const MESSAGE_OVERHEAD_BYTES: usize = 512 << 10;

/// One gRPC call on its way in.
pub(crate) struct Call {
    pub(crate) face: EtcdFace,
    pub(crate) method: Method,
    pub(crate) request: Incoming,
}

impl Call {
    /// Answers that it is not answered.
    pub(crate) fn refuse(self, error: &FaceError) -> Outgoing {
        let response = error.status().into_http();
        self.face.metrics().handled(self.method, code_of(&response), Duration::ZERO);
        response
    }

    /// Answers with one message to one message.
    pub(crate) async fn unary<Q, R, F>(self, run: impl Fn(EtcdFace, Q) -> F + Copy) -> Outgoing
    where
        Q: Message + Default + 'static,
        R: Message + Default + 'static,
        F: Future<Output = Result<R, FaceError>> + Send,
    {
        let Self { face, method, request } = self;
        let began = Instant::now();
        let deadline = timeout(request.headers());
        let needs_leader = needs_leader(request.headers());
        let path = request.uri().clone();
        let (face_of, path) = (&face, &path);
        let answer = service_fn(|request: tonic::Request<Q>| async move {
            let request = request.into_inner();
            let answer = answer(face_of, needs_leader, path.path(), began, request, run).await;
            answer.map(tonic::Response::new)
        });
        // The first error counts: a message that cannot be taken never reaches the method.
        let answered = async { Ok(codec::<Q, R>(&face, method).unary(answer, request).await) };
        let response = within(deadline, answered).await.unwrap_or_else(Status::into_http);
        let response = too_large_as_etcd(response);
        face.metrics().handled(method, code_of(&response), began.elapsed());
        response
    }

    /// Answers with a stream to one message.
    pub(crate) async fn server_streaming<Q, R, S, F>(
        self,
        run: impl Fn(EtcdFace, Q) -> F + Copy + Send,
    ) -> Outgoing
    where
        Q: Message + Default + 'static,
        R: Message + Default + 'static,
        S: tokio_stream::Stream<Item = Result<R, Status>> + Send + 'static,
        F: Future<Output = Result<S, FaceError>> + Send,
    {
        let Self { face, method, request } = self;
        let began = Instant::now();
        let answer = service_fn(|request: tonic::Request<Q>| {
            let face = face.clone();
            async move {
                let result = run(face, request.into_inner()).await;
                result.map(tonic::Response::new).map_err(Status::from)
            }
        });
        let response = codec::<Q, R>(&face, method).server_streaming(answer, request).await;
        counted(face, method, began, too_large_as_etcd(response))
    }

    /// Answers with a stream to a stream; `run` gets the requests and gives the answers.
    pub(crate) async fn streaming<Q, R, S>(
        self,
        run: impl FnOnce(EtcdFace, tonic::Request<Streaming<Q>>) -> Result<S, FaceError> + Send,
    ) -> Outgoing
    where
        Q: Message + Default + 'static,
        R: Message + Default + 'static,
        S: tokio_stream::Stream<Item = Result<R, Status>> + Send + 'static,
    {
        let Self { face, method, request } = self;
        let began = Instant::now();
        let mut run = Some(run);
        let answer = service_fn(|request: tonic::Request<Streaming<Q>>| {
            let result = match run.take() {
                Some(run) => run(face.clone(), request),
                None => Err(FaceError::Unexpected),
            };
            std::future::ready(result.map(tonic::Response::new).map_err(Status::from))
        });
        let response = codec::<Q, R>(&face, method).streaming(answer, request).await;
        counted(face, method, began, response)
    }
}

/// A method's answer, as everybody who asks for it gets it, however the message came.
pub(crate) async fn answer<Q, R, F>(
    face: &EtcdFace,
    needs_leader: bool,
    path: &str,
    began: Instant,
    request: Q,
    run: impl Fn(EtcdFace, Q) -> F,
) -> Result<R, Status>
where
    Q: Message + 'static,
    R: Message + 'static,
    F: Future<Output = Result<R, FaceError>>,
{
    if needs_leader && face.leader().is_none() {
        return Err(FaceError::NoLeader.into());
    }
    let asked = stats::Asked::of(&request);
    let answer = run(face.clone(), request).await?;
    asked.log(&answer, face, path, began);
    Ok(answer)
}

/// An answer that is there before the client's deadline, if it has one.
pub(crate) async fn within<T>(
    deadline: Option<Duration>,
    answered: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match deadline {
        None => answered.await,
        Some(limit) => tokio::time::timeout(limit, answered)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded"))),
    }
}

fn codec<Q, R>(face: &EtcdFace, method: Method) -> Grpc<Counted<Q, R>>
where
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
{
    Grpc::new(Counted::new(face.clone(), method))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(face.config().max_request_bytes + MESSAGE_OVERHEAD_BYTES)
        .max_encoding_message_size(i32::MAX as usize)
}

/// Whether the client would rather have an error than wait for a leader.
pub(crate) fn needs_leader(headers: &http::HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value == "true")
}

/// The client's deadline, relative.
// upstream: gRPC over HTTP/2, "grpc-timeout"
pub(crate) fn timeout(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

pub(crate) fn code_of(response: &Outgoing) -> Code {
    match response.headers().get("grpc-status") {
        Some(code) => Code::from_bytes(code.as_bytes()),
        None => Code::Ok,
    }
}

/// Clients of etcd know a message that is too long by Go's code and words.
fn too_large_as_etcd(response: Outgoing) -> Outgoing {
    if code_of(&response) != Code::OutOfRange {
        return response;
    }
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let Some(rest) =
        status.message().strip_prefix("Error, decoded message length too large: found ")
    else {
        return response;
    };
    let numbers: Vec<&str> =
        rest.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let [found, limit] = numbers[..] else { return response };
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({found} vs. {limit})"
    ))
    .into_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_have_units() {
        let of = |text: &'static str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("grpc-timeout", http::HeaderValue::from_static(text));
            timeout(&headers)
        };
        assert_eq!(of("5S"), Some(Duration::from_secs(5)));
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(of("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(of(""), None);
        assert_eq!(of("5x"), None);
    }

    #[test]
    fn a_message_that_is_too_long_is_told_in_gos_words() {
        let status = Status::out_of_range(
            "Error, decoded message length too large: found 4000000 bytes, the limit is: 2097152 bytes",
        );
        let response = too_large_as_etcd(status.into_http());
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "grpc: received message larger than max (4000000 vs. 2097152)"
        );
        let other = Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
        assert_eq!(code_of(&too_large_as_etcd(other.into_http())), Code::OutOfRange);
    }
}
