//! `keelson store status --timeline`: what every member of a running cluster was, when and why, from
//! each member's own memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use comfy_table::{Table, presets};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;

/// Where a member tells it.
const PATH: &str = "/debug/elections";
/// How long a member may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The most that is read of an answer.
const BYTES_MAX: usize = 4 << 20;

/// Which members, and how they are reached.
#[derive(Debug, Clone, Args)]
pub struct Members {
    /// Ask running members for what they were, when and why.
    #[arg(long)]
    pub timeline: bool,
    /// Client URLs of the members.
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    pub endpoints: Vec<String>,
    /// Certificates of the authorities to trust, as PEM.
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// The certificate to show, as PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// What a member tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Who it is.
    #[serde(rename = "memberID")]
    pub member_id: String,
    /// What it was, the oldest first.
    pub changes: Vec<Change>,
}

/// What a member was from some time on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Microseconds since 1970, by the member's clock.
    pub unix_micros: u64,
    /// How long ago that is, by a clock that does not jump.
    #[serde(default)]
    pub micros_ago: u64,
    /// The term.
    pub term: u64,
    /// What it was.
    pub role: String,
    /// Whom it followed.
    pub leader: Option<String>,
    /// Why it became so.
    pub cause: String,
}

/// Asks all members, and prints what they tell in the order of time.
pub fn run(members: &Members, as_json: bool) -> Result<()> {
    tls::install_provider();
    let config = members.tls()?.map(Arc::new);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    let mut silent = Vec::new();
    for endpoint in &members.endpoints {
        match runtime.block_on(fetch(endpoint, config.clone())) {
            Ok(told) => {
                let member = told.member_id;
                all.extend(told.changes.into_iter().map(|change| (member.clone(), change)));
            }
            Err(error) => silent.push(format!("{endpoint}: {error:#}")),
        }
    }
    ensure!(silent.len() < members.endpoints.len(), "{}", silent.join("; "));
    all.sort_by_key(|(_, change)| change.unix_micros);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["TIME", "MEMBER", "TERM", "ROLE", "CAUSE"]);
    for (member, change) in all {
        let micros = i64::try_from(change.unix_micros)?;
        let time = jiff::Timestamp::from_microsecond(micros)?.to_string();
        let Change { term, role, cause, leader, .. } = change;
        if as_json {
            let shown = serde_json::json!({
                "time": time, "memberID": member, "term": term, "role": role, "leader": leader,
                "cause": cause,
            });
            println!("{shown}");
        } else {
            table.add_row([time, member, term.to_string(), role, cause]);
        }
    }
    if !as_json {
        println!("{table}");
    }
    for one in silent {
        eprintln!("not asked: {one}");
    }
    Ok(())
}

impl Members {
    fn tls(&self) -> Result<Option<ClientConfig>> {
        let read =
            |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        let Some(authority) = &self.cacert else { return Ok(None) };
        let builder =
            ClientConfig::builder().with_root_certificates(tls::roots(&read(authority)?)?);
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(Some(builder.with_no_client_auth()));
        };
        let key = PrivateKeyDer::from_pem_slice(&read(key)?).context("read the key")?;
        Ok(Some(builder.with_client_auth_cert(tls::chain(&read(cert)?)?, key)?))
    }
}

/// What the member at a client URL tells.
pub async fn fetch(endpoint: &str, tls: Option<Arc<ClientConfig>>) -> Result<Told> {
    let asked = page(endpoint, PATH, tls);
    let body = tokio::time::timeout(LIMIT, asked).await.context("no answer")?;
    Ok(serde_json::from_slice(&body.context("the member is none of keelson's, or is not well")?)?)
}

/// A page of the member at a client URL.
pub async fn page(endpoint: &str, path: &str, tls: Option<Arc<ClientConfig>>) -> Result<Bytes> {
    let uri: http::Uri = endpoint.parse().context("the endpoint is no URL")?;
    let host = uri.host().context("the endpoint has no host")?.to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(2379);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    if !secure {
        return get(stream, &host, path).await;
    }
    let Some(tls) = tls else { bail!("an https endpoint needs --cacert") };
    let name = ServerName::try_from(host.clone()).context("server name")?;
    get(TlsConnector::from(tls).connect(name, stream).await?, &host, path).await
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
) -> Result<Bytes> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get(path).header("host", host).body(Full::new(Bytes::new()))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    ensure!(status.is_success(), "{path}: {status}");
    let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    connection.abort();
    Ok(body)
}
