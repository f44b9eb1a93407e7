//! Head: what a request says before its body.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri, Version};

use crate::hpack::{Field, Pseudo};

/// The authority of requests whose own is not well formed. Old Go clients send the whole endpoint
/// there (`http://host:port`, `#initially=[..]`, a path), and etcd takes it.
const SOME_AUTHORITY: &str = "localhost";

/// A request without its body.
#[derive(Debug, Clone)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// Path and query, as they came.
    pub path: Bytes,
    /// All headers but the ones that begin with a colon.
    pub headers: HeaderMap,
    authority: Option<Bytes>,
    is_https: bool,
}

/// A head while its fields come in.
#[derive(Debug, Default)]
pub(crate) struct Building {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    headers: HeaderMap,
    /// It breaks a rule.
    malformed: bool,
}

impl Building {
    pub(crate) fn add(&mut self, field: Field) {
        let (pseudo, value) = match field {
            Field::Regular(name, value) => {
                self.malformed |= is_of_the_connection(name.as_str(), value.as_bytes());
                if self.headers.try_append(name, value).is_err() {
                    self.malformed = true;
                }
                return;
            }
            Field::Pseudo(pseudo, value) => (pseudo, value),
            Field::Malformed => {
                self.malformed = true;
                return;
            }
        };
        let place = match pseudo {
            Pseudo::Method => &mut self.method,
            Pseudo::Scheme => &mut self.scheme,
            Pseudo::Authority => &mut self.authority,
            Pseudo::Path => &mut self.path,
        };
        // Each once, and before all others.
        self.malformed |= place.replace(value).is_some() || !self.headers.is_empty();
    }

    /// The head, if it keeps the rules.
    pub(crate) fn finish(self) -> Option<Head> {
        if self.malformed {
            return None;
        }
        let method = Method::from_bytes(&self.method?).ok()?;
        let path = self.path.filter(|path| !path.is_empty())?;
        let is_https = &self.scheme? == "https";
        Some(Head { method, path, headers: self.headers, authority: self.authority, is_https })
    }
}

/// Headers that HTTP/2 has no place for.
fn is_of_the_connection(name: &str, value: &[u8]) -> bool {
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => true,
        "te" => value != b"trailers",
        _ => false,
    }
}

impl Head {
    /// Whether it calls gRPC.
    pub fn is_grpc(&self) -> bool {
        let kind = self.headers.get(http::header::CONTENT_TYPE);
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
    }

    /// A request of it; `None` if its path is none.
    pub(crate) fn request<B>(&self, body: B) -> Option<Request<B>> {
        let path = PathAndQuery::from_maybe_shared(self.path.clone()).ok()?;
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(path);
        if let Some(authority) = self.authority.clone() {
            let known = Authority::from_maybe_shared(authority);
            parts.authority =
                Some(known.unwrap_or_else(|_| Authority::from_static(SOME_AUTHORITY)));
            parts.scheme = Some(if self.is_https { Scheme::HTTPS } else { Scheme::HTTP });
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }
}
