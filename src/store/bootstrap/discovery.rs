//! Discovery: founders meet below a token in another cluster, as many as its size key says.
//!
//! upstream: etcd v3.7 `v3discovery`, keys and texts

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::Uri;
use hyper_util::rt::TokioIo;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::etcdserverpb::auth_client::AuthClient;
use keelson_proto::etcdserverpb::kv_client::KvClient;
use keelson_raft::identity;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::store::config::{Config, Founders};
use crate::store::flags::Settings;
use crate::store::tls::unverified_client;

const PREFIX: &str = "/_etcd/registry";
/// Between two looks at who has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// After an endpoint could not be asked.
const RETRY: Duration = Duration::from_secs(1);

/// Registers this member, and waits until all founders are there.
pub(super) async fn discover(config: &Config, token: &str) -> Result<Founders> {
    let own_urls = config.peer_urls();
    let id = identity::member(&own_urls, token);
    let contents: Vec<String> =
        own_urls.iter().map(|url| format!("{}={url}", config.name())).collect();
    let meeting = Meeting {
        kvs: connect(&config.0).await?,
        members: format!("{PREFIX}/{token}/members/"),
        size: format!("{PREFIX}/{token}/_config/size"),
        own: format!("{PREFIX}/{token}/members/{id:x}"),
        limit: config.0.duration("discovery-request-timeout"),
    };
    let found = meeting.meet(&contents.join(",")).await?;
    config.read_founders(&found).map_err(anyhow::Error::msg)
}

/// One endpoint.
type Kv = KvClient<InterceptedService<Channel, Token>>;

struct Meeting {
    /// Asked in turn.
    kvs: Vec<Kv>,
    /// Where founders register.
    members: String,
    /// How many there are to be.
    size: String,
    own: String,
    limit: Duration,
}

impl Meeting {
    /// The founders, as one list.
    async fn meet(&self, contents: &str) -> Result<String> {
        let size = self.size().await?;
        self.check(&self.registered().await?, size)?;
        self.register(contents).await?;
        let mut told = 0;
        loop {
            let registered = self.registered().await?;
            self.check(&registered, size)?;
            if registered.len() != told {
                told = registered.len();
                tracing::info!(found = told, needed = size, "found peers from discovery server");
            }
            if told >= size {
                let founders = registered.iter().take(size);
                let lists: Vec<&str> = founders.map(|(_, list)| list.as_str()).collect();
                return Ok(lists.join(","));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// This member must be among the first.
    fn check(&self, registered: &[(String, String)], size: usize) -> Result<()> {
        let full = registered.len() >= size
            && !registered.iter().take(size).any(|(key, _)| *key == self.own);
        if full {
            bail!("discovery: cluster is full");
        }
        Ok(())
    }

    async fn size(&self) -> Result<usize> {
        let request = pb::RangeRequest { key: self.size.clone().into(), ..Default::default() };
        let answer = self.range(request).await?;
        let size = answer.kvs.first().context("discovery: size key not found")?;
        let size = std::str::from_utf8(&size.value).ok().and_then(|text| text.parse().ok());
        size.filter(|size| *size > 0).context("discovery: size key is bad")
    }

    /// Keys and contents, in the order in which they came.
    async fn registered(&self) -> Result<Vec<(String, String)>> {
        let end = keelson_client::prefix_end(self.members.as_bytes());
        let request = pb::RangeRequest {
            key: self.members.clone().into(),
            range_end: end,
            sort_target: pb::range_request::SortTarget::Create.into(),
            sort_order: pb::range_request::SortOrder::Ascend.into(),
            ..Default::default()
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answer = self.range(request).await?;
        Ok(answer.kvs.iter().map(|one| (text(&one.key), text(&one.value))).collect())
    }

    async fn register(&self, contents: &str) -> Result<()> {
        let put = pb::PutRequest {
            key: self.own.clone().into(),
            value: contents.to_owned().into(),
            ..Default::default()
        };
        self.until_answered(async |mut kv| kv.put(put.clone()).await.map(drop)).await?;
        tracing::info!(key = self.own, "register self: member registered itself");
        Ok(())
    }

    async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse> {
        let ask = async |mut kv: Kv| kv.range(request.clone()).await;
        Ok(self.until_answered(ask).await?.into_inner())
    }

    /// Asks again for as long as there is nobody to answer; a refusal is final.
    async fn until_answered<T>(
        &self,
        ask: impl AsyncFn(Kv) -> Result<T, tonic::Status>,
    ) -> Result<T> {
        use tonic::Code;
        for kv in self.kvs.iter().cycle() {
            let status = match tokio::time::timeout(self.limit, ask(kv.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(_) => tonic::Status::deadline_exceeded("no answer in time"),
            };
            match status.code() {
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                    let error = status.message();
                    tracing::warn!(error, "discovery server cannot be asked; trying again");
                    tokio::time::sleep(RETRY).await;
                }
                _ => return Err(anyhow::Error::new(status).context("discovery")),
            }
        }
        bail!("no --discovery-endpoints")
    }
}

/// Shows the token of whoever has said a password.
#[derive(Debug, Clone)]
struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

async fn connect(settings: &Settings) -> Result<Vec<Kv>> {
    let user = settings.text("discovery-user");
    let mut kvs = Vec::new();
    for address in settings.list("discovery-endpoints") {
        let channel = channel(settings, address)?;
        let token = match user.is_empty() {
            true => None,
            false => Some(authenticate(channel.clone(), settings, user).await?),
        };
        kvs.push(KvClient::with_interceptor(channel, Token(token)));
    }
    Ok(kvs)
}

async fn authenticate(
    channel: Channel,
    settings: &Settings,
    user: &str,
) -> Result<MetadataValue<Ascii>> {
    let (name, password) = match user.split_once(':') {
        Some((name, password)) => (name, password),
        None => (user, settings.text("discovery-password")),
    };
    let request = pb::AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
    let answer = AuthClient::new(channel).authenticate(request).await;
    let answer = answer.context("discovery: authenticate")?.into_inner();
    answer.token.parse().context("discovery: a token that is no header")
}

fn channel(settings: &Settings, address: &str) -> Result<Channel> {
    let (secure, host) = match address.split_once("://") {
        Some((scheme, host)) => (scheme == "https", host),
        None => (!settings.is_on("discovery-insecure-transport"), address),
    };
    let unverified = secure && settings.is_on("discovery-insecure-skip-tls-verify");
    let scheme = if secure && !unverified { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{host}"))
        .with_context(|| format!("discovery endpoint {address:?}"))?
        .connect_timeout(settings.duration("discovery-dial-timeout"))
        .http2_keep_alive_interval(settings.duration("discovery-keepalive-time"))
        .keep_alive_timeout(settings.duration("discovery-keepalive-timeout"));
    if unverified {
        let config = unverified_client(&[b"h2"])?;
        let dial = move |to: Uri| dial_tls(config.clone(), to);
        return Ok(endpoint.connect_with_connector_lazy(tower::service_fn(dial)));
    }
    Ok(match secure {
        true => endpoint.tls_config(tls(settings)?)?.connect_lazy(),
        false => endpoint.connect_lazy(),
    })
}

/// TLS with whoever is there.
async fn dial_tls(
    config: Arc<ClientConfig>,
    to: Uri,
) -> std::io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = to.host().unwrap_or_default();
    let stream = TcpStream::connect((host, to.port_u16().unwrap_or(443))).await?;
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
}

fn tls(settings: &Settings) -> Result<ClientTlsConfig> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut tls = ClientTlsConfig::new();
    if let Some(authority) = settings.path("discovery-cacert") {
        tls = tls.ca_certificate(Certificate::from_pem(read(&authority)?));
    }
    if let (Some(certificate), Some(key)) =
        (settings.path("discovery-cert"), settings.path("discovery-key"))
    {
        tls = tls.identity(Identity::from_pem(read(&certificate)?, read(&key)?));
    }
    Ok(tls)
}
