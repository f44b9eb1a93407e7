//! A webhook over TLS: what a function makes of each review.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::certificates::Authority;

/// A webhook that runs until the test ends.
pub struct Webhook {
    /// `https://localhost:PORT`.
    pub url: String,
    /// The authority's certificate, as `caBundle` wants it.
    pub ca_bundle: String,
}

impl Webhook {
    /// Answers each review with what `answer` makes of its `request` as `response`.
    pub fn start(
        dir: &Path,
        answer: impl Fn(&Value) -> Value + Send + Sync + 'static,
    ) -> Result<Self> {
        let authority = Authority::new(&dir.join("webhook"))?;
        let pair = authority.issue("webhook", 1)?;
        let chain = vec![CertificateDer::from_pem_file(&pair.certificate)?];
        let key = PrivateKeyDer::from_pem_file(&pair.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let (config, answer) = (Arc::new(config), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, answer) = (config.clone(), answer.clone());
                // A client that goes away is no failure of the webhook.
                std::thread::spawn(move || serve(stream, config, &*answer));
            }
        });
        Ok(Self { url, ca_bundle: base64(&std::fs::read(authority.path())?) })
    }
}

fn serve(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    answer: &dyn Fn(&Value) -> Value,
) -> Result<()> {
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(tls)?, stream));
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let review: Value = serde_json::from_slice(&body).context("a review")?;
    let mut response = answer(&review["request"]);
    response["uid"] = review["request"]["uid"].clone();
    let text = serde_json::json!({
        "apiVersion": review["apiVersion"], "kind": review["kind"], "response": response,
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    write!(stream.get_mut(), "{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
    stream.get_mut().flush()?;
    Ok(())
}

/// Base64, which no other test needs.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let all = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}
