//! Who may use the HTTP paths: hosts that are known, origins that are allowed.
// upstream: etcd v3, access controller of the client port

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};

use super::error;
use crate::grpc::Outgoing;

/// How a server speaks HTTP.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Origins whose pages may call; `*` or none: all.
    pub cors: Vec<String>,
    /// Host names that plain HTTP is answered under; `*` or none: all.
    pub host_whitelist: Vec<String>,
    /// Whether `/v3/` is served.
    pub gateway: bool,
    /// Most requests at a time on one connection, and in the gateway of one listener.
    pub max_concurrent_streams: u32,
    /// After so long without a sign of life a client is asked for one.
    pub keep_alive_interval: Duration,
    /// How long it may take to answer.
    pub keep_alive_timeout: Duration,
    /// A client that pings more often is sent away.
    pub ping_min: Duration,
    /// Whether the name in a client's certificate is a user's.
    pub client_cert_auth: bool,
    /// Whether those who ask for Go's profiles are told where others are.
    pub profiles: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            cors: Vec::new(),
            host_whitelist: Vec::new(),
            gateway: true,
            max_concurrent_streams: u32::MAX,
            keep_alive_interval: Duration::from_secs(2 * 60 * 60),
            keep_alive_timeout: Duration::from_secs(20),
            ping_min: Duration::from_secs(5),
            client_cert_auth: false,
            profiles: false,
        }
    }
}

impl HttpConfig {
    /// The same for one connection of HTTP/2.
    pub(crate) fn connection(&self) -> keelson_http2::Config {
        keelson_http2::Config {
            max_concurrent_streams: self.max_concurrent_streams,
            keep_alive_interval: self.keep_alive_interval,
            keep_alive_timeout: self.keep_alive_timeout,
            ping_min: self.ping_min,
            ..keelson_http2::Config::default()
        }
    }
}

/// The answer to a request under a host name that is not known: a page of somebody else's may have
/// been led here.
pub(super) fn refusal<B>(
    config: &HttpConfig,
    request: &Request<B>,
    secure: bool,
) -> Option<Outgoing> {
    let host = host_name(request);
    if secure || is_listed(&config.host_whitelist, &host) {
        return None;
    }
    tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
    let message = format!(
        "\netcd received your request, but the Host header was unrecognized.\n\n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n  \
         - e.g. etcd --host-whitelist {host:?}\n\n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks \
         (CVE-2018-5702).\n"
    );
    Some(error(StatusCode::MISDIRECTED_REQUEST, &message))
}

fn is_listed(list: &[String], wanted: &str) -> bool {
    list.is_empty() || list.iter().any(|one| one == "*" || one == wanted)
}

/// The host that a request is for, without a port.
fn host_name<B>(request: &Request<B>) -> String {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(|host| host.as_str()).or(header).unwrap_or_default();
    let without_port = match host.rsplit_once(':') {
        Some((name, _)) if !name.contains(':') || name.starts_with('[') => name,
        _ => host,
    };
    without_port.trim_matches(['[', ']']).to_owned()
}

/// The origin that is told it may call.
pub(super) fn allowed_origin(config: &HttpConfig, headers: &HeaderMap) -> Option<HeaderValue> {
    if is_listed(&config.cors, "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let origin = headers.get(header::ORIGIN)?;
    let text = origin.to_str().ok()?;
    config.cors.iter().any(|one| one == text).then(|| origin.clone())
}

/// Says so.
pub(super) fn allow(response: &mut Outgoing, origin: HeaderValue) {
    let all: [(HeaderName, HeaderValue); 3] = [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
        ),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("accept, content-type, authorization"),
        ),
    ];
    response.headers_mut().extend(all);
}

/// The name that the gateway's paths had before.
pub(super) fn rename_v3beta<B>(request: &mut Request<B>) {
    let Some(rest) = request.uri().path().strip_prefix("/v3beta/") else { return };
    if let Ok(uri) = Uri::try_from(format!("/v3/{rest}")) {
        *request.uri_mut() = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &'static str) -> Request<()> {
        Request::get("/health").header("host", host).body(()).unwrap()
    }

    #[test]
    fn unknown_hosts_are_refused_in_plain() {
        let config =
            HttpConfig { host_whitelist: vec!["good.example".into()], ..Default::default() };
        assert!(refusal(&config, &request("good.example:2379"), false).is_none());
        assert!(refusal(&config, &request("bad.example"), true).is_none());
        let refused = refusal(&config, &request("bad.example:2379"), false).unwrap();
        assert_eq!(refused.status(), 421);
        assert!(refusal(&HttpConfig::default(), &request("any"), false).is_none());
        assert_eq!(host_name(&request("[::1]:2379")), "::1");
        assert_eq!(host_name(&request("::1")), "::1");
    }

    #[test]
    fn origins_are_allowed_by_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(allowed_origin(&HttpConfig::default(), &headers).unwrap(), "*");
        let config = HttpConfig { cors: vec!["http://a".into()], ..Default::default() };
        assert_eq!(allowed_origin(&config, &headers), None);
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://a"));
        assert_eq!(allowed_origin(&config, &headers).unwrap(), "http://a");
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://b"));
        assert_eq!(allowed_origin(&config, &headers), None);
    }
}
