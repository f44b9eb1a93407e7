//! The few requests that a measurement makes of an API server, over one connection each.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest line of a watch, in bytes.
const LINE_MAX: usize = 4 << 20;

/// An API server on loopback.
#[derive(Clone)]
pub struct Api {
    /// Its port.
    pub port: u16,
    /// Whom to trust and who asks.
    pub tls: Arc<ClientConfig>,
}

impl Api {
    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<http::Response<hyper::body::Incoming>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").context("server name")?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            let status = response.status();
            let text = response.into_body().collect().await?.to_bytes();
            bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&text));
        }
        Ok(response)
    }

    /// One request and its whole answer.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let response = self.send(method, path, body).await?;
        let bytes = response.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Events of `path` from now on, as they come.
    pub async fn watch(&self, path: &str) -> Result<Watch> {
        let version = self.call("GET", &format!("{path}?limit=1"), None).await?;
        let version = version["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        let path = format!("{path}?watch=1&resourceVersion={version}");
        let body = self.send("GET", &path, None).await?.into_body();
        Ok(Watch { body, buffer: BytesMut::new() })
    }
}

/// A watch that is open.
pub struct Watch {
    body: hyper::body::Incoming,
    buffer: BytesMut,
}

impl Watch {
    /// The next event's object.
    pub async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                let mut event: Value = serde_json::from_slice(&line)?;
                return Ok(event["object"].take());
            }
            if self.buffer.len() > LINE_MAX {
                bail!("a watch event is longer than {LINE_MAX} bytes");
            }
            let frame = self.body.frame().await.context("the watch has ended")??;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
