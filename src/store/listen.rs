//! The sockets that a member listens on.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use keelson_etcd_api::{Listener, Port, Serves};
use keelson_raft::peer::{PeerListener, PeerSocket};
use rustls::ServerConfig;
use tokio::net::{TcpSocket, UnixListener};

use super::flags::{Settings, Url};
use super::tls::TlsInfo;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// What clients speak over TLS.
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Options of sockets.
#[derive(Debug, Clone, Copy)]
pub struct Reuse {
    port: bool,
}

impl Reuse {
    /// As the flags say; addresses are always used again.
    pub fn of(settings: &Settings) -> Self {
        Self { port: settings.is_on("socket-reuse-port") }
    }
}

/// All ports for clients, and those for metrics.
// upstream: etcd v3.7, `embed.configureClientListeners`
pub fn client_ports(settings: &Settings, tls: &TlsInfo) -> Result<Vec<Port>> {
    let all = settings.urls("listen-client-urls");
    let http = settings.urls("listen-client-http-urls");
    let metrics = settings.urls("listen-metrics-urls");
    for url in all.iter().chain(http) {
        if url.is_secure() && tls.is_empty() {
            bail!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with \
                 HTTPS scheme"
            );
        }
        if !url.is_secure() && !tls.is_empty() {
            tracing::warn!(
                "client-url" = %url,
                "scheme is http or unix while key and cert files are present; ignoring key and \
                 cert files"
            );
        }
        if !url.is_secure() && tls.wants_certificates() {
            tracing::warn!(
                "client-url" = %url,
                "scheme is http or unix while --client-cert-auth is enabled; ignoring client cert \
                 auth for this URL"
            );
        }
    }
    if let Some(url) = http.iter().find(|url| all.iter().any(|one| one.address == url.address)) {
        bail!(
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {url}"
        );
    }
    if let Some(url) = metrics.iter().find(|url| url.is_secure() && tls.is_empty()) {
        bail!(
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url \
             {url}"
        );
    }
    let secure = if tls.is_empty() { None } else { Some(tls.server(PROTOCOLS)?) };
    let reuse = Reuse::of(settings);
    let kind = if http.is_empty() { Serves::Everything } else { Serves::Grpc };
    let mut ports = Vec::new();
    for (urls, serves) in [(all, kind), (http, Serves::Http), (metrics, Serves::Metrics)] {
        ports.extend(bind_all(urls, serves, secure.as_ref(), reuse)?);
    }
    Ok(ports)
}

/// One port an address; with both schemes it speaks both.
fn bind_all(
    urls: &[Url],
    serves: Serves,
    secure: Option<&Arc<ServerConfig>>,
    reuse: Reuse,
) -> Result<Vec<Port>> {
    let mut addresses: Vec<&str> = urls.iter().map(|url| url.address.as_str()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut ports = Vec::new();
    for address in addresses {
        let here: Vec<&Url> = urls.iter().filter(|url| url.address == address).collect();
        let Some(first) = here.first() else { continue };
        let listener = if first.is_unix() {
            Listener::Unix(bind_unix(Path::new(address))?)
        } else {
            Listener::Tcp(bind(first, reuse)?.listen(BACKLOG)?)
        };
        let tls = secure.filter(|_| here.iter().any(|url| url.is_secure())).cloned();
        let plain = here.iter().any(|url| !url.is_secure());
        ports.push(Port { listener, tls, plain, serves });
    }
    Ok(ports)
}

/// Where other members connect.
pub fn peer_listener(url: &Url, reuse: Reuse) -> Result<PeerListener> {
    let socket = if url.is_unix() {
        PeerSocket::Unix(bind_unix(Path::new(&url.address))?.into_std()?)
    } else {
        PeerSocket::Tcp(bind(url, reuse)?.listen(BACKLOG)?.into_std()?)
    };
    Ok(PeerListener { socket, secure: url.is_secure() })
}

fn bind(url: &Url, reuse: Reuse) -> Result<TcpSocket> {
    let address = socket_address(url)?;
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse.port)?;
    socket.bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("listen tcp {address}: bind: address already in use")
        }
        _ => anyhow::Error::new(error).context(format!("listen tcp {address}")),
    })?;
    Ok(socket)
}

/// The address to bind, of a URL whose host is an address or `localhost`.
fn socket_address(url: &Url) -> Result<SocketAddr> {
    let (host, port) = url.host_and_port().context("a URL without a port")?;
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    let address =
        host.parse().with_context(|| format!("expected IP in URL for binding ({url})"))?;
    let port = port.parse().with_context(|| format!("listen tcp {}", url.address))?;
    Ok(SocketAddr::new(address, port))
}

/// A socket in the file system; one that was left behind is taken over.
fn bind_unix(path: &Path) -> Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    UnixListener::bind(path).with_context(|| format!("listen unix {}", path.display()))
}
