//! A GET: 2xx and 3xx are healthy. HTTPS is spoken without looking at the certificate, as the kubelet does.
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Outcome;
use super::run::{Target, port_number};
use super::tcp::words;

const BODY_BYTES_MAX: usize = 10 << 10;
const USER_AGENT: &str = "kube-probe/1.36";
const REDIRECTS_MAX: usize = 10;

/// Where and how to ask.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpTarget {
    https: bool,
    host: String,
    port: u16,
    path: String,
    headers: HeaderMap,
}

impl HttpTarget {
    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

/// The answer's status, and where it redirects to.
pub(crate) struct HttpAnswer {
    pub(crate) status: StatusCode,
    location: Option<String>,
}

/// Resolves ports and headers of an action.
pub(crate) fn http_target(
    get: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
) -> Result<HttpTarget, String> {
    let port = port_number(&get.port, container)?;
    let host = get.host.clone().filter(|host| !host.is_empty());
    let mut headers = HeaderMap::new();
    for header in get.http_headers.iter().flatten() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_str(&header.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers.entry(http::header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
    headers.entry(http::header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    let path = get.path.clone().unwrap_or_default();
    Ok(HttpTarget {
        https: get.scheme.as_deref() == Some("HTTPS"),
        host: host.unwrap_or_else(|| pod_ip.to_owned()),
        port,
        path: if path.starts_with('/') { path } else { format!("/{path}") },
        headers,
    })
}

/// One attempt of a probe.
pub(crate) async fn attempt(get: &HTTPGetAction, target: Target<'_>, timeout: Duration) -> Outcome {
    let target = match http_target(get, target.container, target.pod_ip) {
        Ok(target) => target,
        Err(why) => return Outcome::Error(why),
    };
    match tokio::time::timeout(timeout, follow(target.clone())).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(why)) => Outcome::Unhealthy(format!("Get \"{}\": {why}", target.url())),
        Err(_) => Outcome::Unhealthy(format!(
            "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            target.url()
        )),
    }
}

async fn follow(mut target: HttpTarget) -> Result<Outcome, String> {
    for _ in 0..REDIRECTS_MAX {
        let answer = http_get(&target).await?;
        let code = answer.status.as_u16();
        if (200..300).contains(&code) {
            return Ok(Outcome::Healthy);
        }
        if !(300..400).contains(&code) {
            return Ok(Outcome::Unhealthy(format!("HTTP probe failed with statuscode: {code}")));
        }
        let Some(location) = answer.location else { return Ok(Outcome::Healthy) };
        if let Some(path) = location.strip_prefix('/').filter(|path| !path.starts_with('/')) {
            target.path = format!("/{path}");
            continue;
        }
        let same_host = location
            .parse::<http::Uri>()
            .ok()
            .filter(|uri| uri.host() == Some(target.host.as_str()))
            .filter(|uri| uri.port_u16().is_none_or(|port| port == target.port));
        match same_host {
            Some(uri) => target.path = uri.path().to_owned(),
            None => return Ok(Outcome::Warning("Probe terminated redirects".into())),
        }
    }
    Err("stopped after 10 redirects".into())
}

/// Asks once.
pub(crate) async fn http_get(target: &HttpTarget) -> Result<HttpAnswer, String> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await;
    let stream = stream
        .map_err(|error| format!("dial tcp {}:{}: {}", target.host, target.port, words(&error)))?;
    if !target.https {
        return ask(target, stream).await;
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
    let stream = tokio_rustls::TlsConnector::from(tls_config()?)
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    ask(target, stream).await
}

async fn ask<S>(target: &HttpTarget, stream: S) -> Result<HttpAnswer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(&target.path);
    if let Some(headers) = request.headers_mut() {
        headers.clone_from(&target.headers);
        let host = if target.host.contains(':') {
            format!("[{}]:{}", target.host, target.port)
        } else {
            format!("{}:{}", target.host, target.port)
        };
        if let Ok(host) = HeaderValue::from_str(&host) {
            headers.entry(http::header::HOST).or_insert(host);
        }
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| error.to_string())?;
    let answer =
        sender.send_request(request).await.map_err(|error| match error.is_incomplete_message() {
            true => "EOF".to_owned(),
            false => error.to_string(),
        });
    let result = match answer {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            // The body is read, so that the server is not cut off in the middle of it.
            let _ = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let location = head.headers.get(http::header::LOCATION);
            let location = location.and_then(|l| l.to_str().ok()).map(str::to_owned);
            Ok(HttpAnswer { status: head.status, location })
        }
        Err(why) => Err(why),
    };
    connection.abort();
    result
}

fn tls_config() -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A probe asks whether the container answers, not who it is.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn probe(answer: &'static str) -> Outcome {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let get = json!({"path": "/healthz", "port": "web",
            "httpHeaders": [{"name": "Host", "value": "example.com"}]});
        let get: HTTPGetAction = serde_json::from_value(get).unwrap();
        let container: Container = serde_json::from_value(json!({
            "name": "c", "ports": [{"name": "web", "containerPort": port}]}))
        .unwrap();
        let target = Target { container: &container, id: "", pod_ip: "127.0.0.1" };
        let outcome = attempt(&get, target, Duration::from_secs(5)).await;
        let request = server.await.unwrap();
        assert!(request.starts_with("GET /healthz HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("host: example.com\r\n"), "{request}");
        outcome
    }

    #[tokio::test]
    async fn answers_decide() {
        assert_eq!(probe("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await, Outcome::Healthy);
        assert_eq!(
            probe("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await,
            Outcome::Unhealthy("HTTP probe failed with statuscode: 500".into())
        );
        let elsewhere =
            "HTTP/1.1 302 F\r\nlocation: http://other.example/\r\ncontent-length: 0\r\n\r\n";
        assert!(matches!(probe(elsewhere).await, Outcome::Warning(_)));
    }
}
