//! Bytes over TLS to the API server, as the administrator: for what no stock client would send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Cluster;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// The code of the status line; 0: the connection was closed without one.
    pub code: u16,
    /// Everything after the headers.
    pub body: String,
}

/// Sends raw bytes to an API server.
pub struct Raw {
    tls: Arc<ClientConfig>,
    port: u16,
}

impl Raw {
    /// As the cluster's administrator.
    pub fn to(cluster: &Cluster) -> Result<Self> {
        let pki = cluster.data_dir().join("pki");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pki.join("ca.crt"))?)?;
        let chain =
            CertificateDer::pem_file_iter(pki.join("admin.crt"))?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(pki.join("admin.key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { tls: Arc::new(tls), port: cluster.api_port })
    }

    /// One connection: writes everything, reads until the server closes.
    pub fn exchange(&self, bytes: &[u8]) -> Result<Answer> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port))?;
        tcp.set_read_timeout(Some(ANSWER_MAX))?;
        let name = ServerName::try_from("localhost")?;
        let mut stream = StreamOwned::new(ClientConnection::new(self.tls.clone(), name)?, tcp);
        // A server that has refused the beginning need not read the end.
        let _refused_early = stream.write_all(bytes).and_then(|()| stream.flush());
        let mut answer = Vec::new();
        let _closed_hard = stream.read_to_end(&mut answer);
        Ok(parse(&answer))
    }

    /// One request over HTTP/1.1.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
        let length = body.len();
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.exchange(&bytes).with_context(|| format!("{method} {path}"))
    }

    /// The same bytes without TLS.
    pub fn without_tls(&self, bytes: &[u8]) -> Result<String> {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.port))?;
        tcp.set_read_timeout(Some(ANSWER_MAX))?;
        tcp.write_all(bytes)?;
        let mut answer = Vec::new();
        let _closed_hard = tcp.read_to_end(&mut answer);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn parse(answer: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { code, body: body.to_owned() }
}
