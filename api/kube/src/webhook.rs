//! Calling webhooks: a review is sent to a URL or a Service, and its answer read.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::context::Context;
use crate::ready_endpoints::ready_endpoints;

/// Answers are no larger than this.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Where a webhook is.
struct Target {
    /// The name that its certificate is for.
    name: String,
    port: u16,
    path: String,
    /// Addresses to try.
    addresses: Vec<(String, u16)>,
}

/// Sends a review to the webhook that a `clientConfig` names; answers what it said.
pub(crate) async fn post(
    cx: &Context,
    config: &Value,
    review: &Value,
    timeout: Duration,
) -> Result<Value, String> {
    let target = target(cx, config).await?;
    let call = async {
        let stream = connect(&target).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls(config)?));
        let name = ServerName::try_from(target.name.clone())
            .map_err(|_| format!("{:?} is no name of a server", target.name))?;
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|e| format!("tls: failed to verify certificate: {e}"))?;
        exchange(stream, &target, review).await
    };
    let url = format!("https://{}:{}{}", target.name, target.port, target.path);
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer.map_err(|why| format!("Post {url:?}: {why}")),
        Err(_) => Err(format!("Post {url:?}: context deadline exceeded")),
    }
}

async fn target(cx: &Context, config: &Value) -> Result<Target, String> {
    if let Some(url) = config["url"].as_str() {
        let rest =
            url.strip_prefix("https://").ok_or("the URL of a webhook begins with https://")?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (name, port) = match host.rsplit_once(':').filter(|(_, p)| !p.contains(']')) {
            Some((name, port)) => (name, port.parse().map_err(|_| "the port is no number")?),
            None => (host, 443),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        return Ok(Target {
            addresses: vec![(name.clone(), port)],
            name,
            port,
            path: path.to_owned(),
        });
    }
    let service = &config["service"];
    let text = |name: &str| service[name].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
    let mut path = text("path");
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    let addresses = endpoints(cx, &namespace, &name, port).await?;
    Ok(Target { name: format!("{name}.{namespace}.svc"), port, path, addresses })
}

/// Ready endpoints of a Service's port.
async fn endpoints(
    cx: &Context,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<Vec<(String, u16)>, String> {
    let failed = |e: crate::status::Status| e.message;
    let services = cx.caches.of("services/specs").await.map_err(failed)?;
    let service = services.get(&format!("{namespace}/{name}"));
    let service = service.ok_or_else(|| format!("service {name:?} not found"))?.value();
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let wanted = ports.iter().find(|p| p["port"] == port);
    let wanted = wanted.ok_or_else(|| format!("service {name:?} has no port {port}"))?;
    let port_name = wanted["name"].as_str().unwrap_or_default();
    let slices = cx.caches.of("endpointslices").await.map_err(failed)?;
    let found = ready_endpoints(&slices, namespace, name, port_name);
    if found.is_empty() {
        return Err(format!("no endpoints available for service {name:?}"));
    }
    Ok(found)
}

async fn connect(target: &Target) -> Result<TcpStream, String> {
    let mut why = String::from("no address");
    for (host, port) in &target.addresses {
        match TcpStream::connect((host.as_str(), *port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = format!("dial tcp {host}:{port}: {error}"),
        }
    }
    Err(why)
}

/// Trusts the authorities of the webhook's configuration.
fn tls(config: &Value) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    let bundle = config["caBundle"].as_str().unwrap_or_default();
    let pem = base64::engine::general_purpose::STANDARD
        .decode(bundle)
        .map_err(|e| format!("the caBundle is no base64: {e}"))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| format!("the caBundle is no PEM: {e}"))?;
        roots.add(certificate).map_err(|e| format!("the caBundle: {e}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

async fn exchange<S>(stream: S, target: &Target, review: &Value) -> Result<Value, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let running = tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(HOST, format!("{}:{}", target.name, target.port))
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, */*")
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    running.abort();
    let bytes = body.map_err(|e| e.to_string())?.to_bytes();
    if !status.is_success() {
        return Err(format!("the server answered {status}"));
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("the answer is no JSON: {e}"))
}
