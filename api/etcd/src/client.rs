//! Client: who is at the other end of an HTTP/2 connection, and how its requests are answered.
//!
//! The methods of every write and read are answered here from one message to the other, without a
//! stream, a codec and a timer in between; all others, and all that is odd, go through tonic.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method as HttpMethod, Request, Response};
use keelson_failpoint::failpoint;
use keelson_http2::{Head, Service, Unary};
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::auth::Credentials;
use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::grpc::{self, code_of, needs_leader, timeout};
use crate::http::Site;
use crate::kv;
use crate::metrics::Method;
use crate::routes::client_version;
use crate::server::Certificate;

/// Of gRPC's frame around a message.
const PREFIX_BYTES: usize = 5;

/// Larger answers are encoded, and what they were made of is freed, where no other client waits.
const LARGE_BYTES: usize = 256 << 10;

/// The client of one connection.
pub(crate) struct Client {
    site: Arc<Site>,
    /// Of gRPC, as this client has it.
    face: Option<EtcdFace>,
    secure: bool,
    certificate: Option<Certificate>,
    remote: Arc<str>,
}

impl Client {
    pub(crate) fn new(
        site: Arc<Site>,
        secure: bool,
        certificate: Option<Certificate>,
        remote: Arc<str>,
    ) -> Self {
        let face = site.grpc().map(|face| face.of_remote(&remote));
        Self { site, face, secure, certificate, remote }
    }
}

/// What the head of a call says.
#[derive(Clone)]
pub(crate) struct Route {
    kind: Kind,
    method: Method,
    path: &'static str,
    version: Arc<str>,
    token: Option<Arc<Credentials>>,
    deadline: Option<Duration>,
    needs_leader: bool,
}

/// The methods that are answered here.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Range,
    Put,
    DeleteRange,
    Txn,
}

impl Kind {
    fn at(path: &[u8]) -> Option<(Self, &'static str)> {
        Some(match path {
            b"/etcdserverpb.KV/Range" => (Self::Range, "/etcdserverpb.KV/Range"),
            b"/etcdserverpb.KV/Put" => (Self::Put, "/etcdserverpb.KV/Put"),
            b"/etcdserverpb.KV/DeleteRange" => (Self::DeleteRange, "/etcdserverpb.KV/DeleteRange"),
            b"/etcdserverpb.KV/Txn" => (Self::Txn, "/etcdserverpb.KV/Txn"),
            _ => return None,
        })
    }
}

impl Service for Client {
    type Route = Route;
    type Body = Body;

    fn route(&self, head: &Head) -> Option<Route> {
        self.face.as_ref()?;
        let (kind, path) = Kind::at(&head.path)?;
        let header = |name: &str| head.headers.get(name).map(|value| value.as_bytes());
        let is_plain = head.method == HttpMethod::POST
            && matches!(
                header("content-type"),
                Some(b"application/grpc" | b"application/grpc+proto")
            )
            && matches!(header("grpc-encoding"), None | Some(b"identity"));
        if !is_plain {
            return None;
        }
        Some(Route {
            kind,
            method: Method::at(path),
            path,
            version: client_version(&head.headers).ok()?.into(),
            token: Credentials::token(&head.headers).map(Arc::new),
            deadline: timeout(&head.headers),
            needs_leader: needs_leader(&head.headers),
        })
    }

    fn unary(&self, route: Route, message: Bytes) -> BoxFuture<'static, Unary<Body>> {
        let Some(face) = &self.face else {
            let response = Status::unimplemented("no gRPC here").into_http();
            return std::future::ready(Unary::Refused(response)).boxed();
        };
        let certificate = self.certificate.as_ref().map(|one| &one.0);
        let face = face.shown(route.token.as_ref(), certificate);
        let call = Call { face, route };
        match call.route.kind {
            Kind::Range => call.run(message, kv::range).boxed(),
            Kind::Put => call.run(message, kv::put).boxed(),
            Kind::DeleteRange => call.run(message, kv::delete_range).boxed(),
            Kind::Txn => call.run(message, kv::txn).boxed(),
        }
    }

    fn call(&self, request: Request<keelson_http2::Body>) -> BoxFuture<'static, Response<Body>> {
        let (site, remote) = (self.site.clone(), self.remote.clone());
        let (secure, certificate) = (self.secure, self.certificate.clone());
        let request = request.map(Body::new);
        async move { site.answer(request, secure, certificate, &remote).await }.boxed()
    }
}

/// One call on its way in.
struct Call {
    face: EtcdFace,
    route: Route,
}

impl Call {
    async fn run<Q, R, F>(self, message: Bytes, run: fn(EtcdFace, Q) -> F) -> Unary<Body>
    where
        Q: Message + Default + 'static,
        R: Message + 'static,
        F: Future<Output = Result<R, FaceError>> + Send,
    {
        let Self { face, route } = self;
        let (metrics, method) = (face.metrics(), route.method);
        let began = Instant::now();
        metrics.begun(method);
        metrics.requests.came(&route.version, false);
        metrics.received(method, message.len());
        let answered = framed(&face, &route, message, run, began);
        match grpc::within(route.deadline, answered).await {
            Ok(message) => {
                metrics.sent(method, message.len() - PREFIX_BYTES);
                metrics.handled(method, Code::Ok, began.elapsed());
                Unary::Answer(message)
            }
            Err(status) => {
                let response = status.into_http();
                metrics.handled(method, code_of(&response), began.elapsed());
                Unary::Refused(response)
            }
        }
    }
}

/// The answer's message in gRPC's frame.
async fn framed<Q, R, F>(
    face: &EtcdFace,
    route: &Route,
    message: Bytes,
    run: fn(EtcdFace, Q) -> F,
    began: Instant,
) -> Result<Bytes, Status>
where
    Q: Message + Default + 'static,
    R: Message + 'static,
    F: Future<Output = Result<R, FaceError>> + Send,
{
    if face.node().is_learner() && !matches!(route.kind, Kind::Range) {
        return Err(FaceError::Learner.into());
    }
    failpoint!(await afterIsMemberExist);
    let request = Q::decode(message).map_err(|error| Status::internal(error.to_string()))?;
    let answer = grpc::answer(face, route.needs_leader, route.path, began, request, run).await?;
    let length = answer.encoded_len();
    let Ok(prefix) = u32::try_from(length) else {
        return Err(Status::resource_exhausted("an answer of more than 4 GiB"));
    };
    let encode = move || {
        let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
        out.put_u8(0);
        out.put_u32(prefix);
        answer.encode_raw(&mut out);
        out.freeze()
    };
    if length < LARGE_BYTES {
        return Ok(encode());
    }
    let encoded = tokio::task::spawn_blocking(encode).await;
    encoded.map_err(|error| Status::internal(error.to_string()))
}
