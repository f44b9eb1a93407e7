//! The HTTP paths beside gRPC.

mod access;
mod elections;
mod health;
mod vars;
mod version;

use std::sync::Arc;

use ::http::{HeaderValue, Method, Response, StatusCode, header};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

pub use access::HttpConfig;
pub(crate) use health::all_checks;

use crate::face::EtcdFace;
use crate::gateway::Gateway;
use crate::grpc::{Incoming, Outgoing};
use crate::server::Certificate;
use crate::{metrics, routes, sse};

/// What a port answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// gRPC and HTTP.
    Everything,
    /// gRPC alone, where HTTP has ports of its own.
    Grpc,
    /// HTTP alone, with the JSON gateway.
    Http,
    /// Health and metrics alone.
    Metrics,
}

/// What is said on one port, and to whom.
pub(crate) struct Site {
    face: EtcdFace,
    config: HttpConfig,
    gateway: Gateway,
    serves: Serves,
}

impl Site {
    pub(crate) fn new(
        face: EtcdFace,
        config: HttpConfig,
        serves: Serves,
        stop: CancellationToken,
    ) -> Self {
        let gateway = Gateway::new(face.clone(), config.max_concurrent_streams, stop);
        Self { face, config, gateway, serves }
    }

    pub(crate) fn config(&self) -> &HttpConfig {
        &self.config
    }

    /// The face of gRPC, if it is spoken here.
    pub(crate) fn grpc(&self) -> Option<&EtcdFace> {
        matches!(self.serves, Serves::Everything | Serves::Grpc).then_some(&self.face)
    }

    /// Answers one request of a connection.
    pub(crate) async fn answer(
        &self,
        mut request: Incoming,
        secure: bool,
        client: Option<Certificate>,
        remote: &Arc<str>,
    ) -> Outgoing {
        let is_grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        match self.serves {
            Serves::Everything | Serves::Grpc if is_grpc => {
                if let Some(client) = client {
                    request.extensions_mut().insert(client);
                }
                routes::grpc(self.face.of_remote(remote), request).await
            }
            Serves::Grpc => text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "text/plain; charset=utf-8",
                "invalid gRPC request content-type\n",
            ),
            Serves::Metrics => self.health_and_metrics(Asked::of(&request)).await,
            Serves::Everything | Serves::Http => {
                if let Some(refusal) = access::refusal(&self.config, &request, secure) {
                    return refusal;
                }
                let is_sse = self.config.gateway && request.uri().path() == sse::PATH;
                if client.is_some()
                    && !is_sse
                    && self.face.node().view().is_auth_enabled()
                    && request.uri().path().starts_with("/v3/")
                {
                    return error(
                        StatusCode::BAD_REQUEST,
                        "CommonName of client sending a request against gateway will be ignored \
                         and not used as expected",
                    );
                }
                let allowed = access::allowed_origin(&self.config, request.headers());
                let mut response = match *request.method() {
                    Method::OPTIONS => text(StatusCode::OK, "", ""),
                    _ if is_sse => {
                        let face = self.face.of_remote(remote);
                        let face =
                            face.on_behalf(request.headers(), client.as_ref().map(|one| &one.0));
                        sse::answer(face, &request, self.gateway.permit(), self.gateway.stop())
                    }
                    _ => self.everything(request).await,
                };
                if let Some(origin) = allowed {
                    access::allow(&mut response, origin);
                }
                response
            }
        }
    }

    async fn everything(&self, mut request: Incoming) -> Outgoing {
        if self.config.gateway {
            access::rename_v3beta(&mut request);
            if request.uri().path().starts_with("/v3/") {
                return self.gateway.answer(request).await;
            }
        }
        let asked = Asked::of(&request);
        match asked.path.as_str() {
            "/version" => asked.other_than_get().unwrap_or_else(|| version::version(&self.face)),
            "/debug/elections" => {
                asked.other_than_get().unwrap_or_else(|| elections::elections(&self.face))
            }
            "/debug/vars" => asked.other_than_get().unwrap_or_else(vars::vars),
            path if self.config.profiles && path.starts_with("/debug/pprof") => {
                let pid = std::process::id();
                let why = format!(
                    "404: there are no Go profiles of a process that is not written in Go; \
                     `perf record -g -p {pid}` makes one of its CPU time"
                );
                error(StatusCode::NOT_FOUND, &why)
            }
            _ => self.health_and_metrics(asked).await,
        }
    }

    async fn health_and_metrics(&self, asked: Asked) -> Outgoing {
        let face = &self.face;
        let (path, query) = (asked.path.as_str(), asked.query.as_str());
        if path == "/metrics" {
            let kind = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
            return text(StatusCode::OK, kind, metrics::render(face));
        }
        let (group, only) = match path.split('/').collect::<Vec<_>>()[..] {
            ["", "health"] => {
                return match asked.other_than_get() {
                    Some(refusal) => refusal,
                    None => health::health(face, query).await,
                };
            }
            ["", "livez"] => (&health::LIVEZ, None),
            ["", "readyz"] => (&health::READYZ, None),
            ["", "livez", check] if health::LIVEZ.has(check) => (&health::LIVEZ, Some(check)),
            ["", "readyz", check] if health::READYZ.has(check) => (&health::READYZ, Some(check)),
            _ => return error(StatusCode::NOT_FOUND, "404 page not found"),
        };
        match asked.other_than_get() {
            Some(refusal) => refusal,
            None => health::probe(face, group, only, query).await,
        }
    }
}

/// What an HTTP request asks for; its body is not looked at.
struct Asked {
    method: Method,
    path: String,
    query: String,
}

impl Asked {
    fn of(request: &Incoming) -> Self {
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
        }
    }

    /// The refusal of every method but GET.
    fn other_than_get(&self) -> Option<Outgoing> {
        if self.method == Method::GET {
            return None;
        }
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        Some(response)
    }
}

/// A failure in the form of Go's HTTP server.
fn error(status: StatusCode, message: &str) -> Outgoing {
    let mut response = text(status, "text/plain; charset=utf-8", format!("{message}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Outgoing {
    let body = http_body_util::Full::new(bytes::Bytes::from(body.into()));
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    if !kind.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// The values of one name in a query.
fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}
