//! Founders by DNS: SRV records of `_etcd-server-ssl._tcp` and `_etcd-server._tcp`.
//!
//! upstream: etcd v3.7 `client/pkg/srv`, names and texts

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::store::config::{Config, Founders};

/// The founders; this member is the one whose address is one of its peer URLs'.
pub(super) async fn founders(config: &Config) -> Result<Founders> {
    let domain = config.0.text("discovery-srv");
    let suffix = match config.0.text("discovery-srv-name") {
        "" => String::new(),
        name => format!("-{name}"),
    };
    let resolver = TokioResolver::builder_tokio()
        .context("read the resolver's configuration")?
        .build()
        .context("make a resolver")?;
    let mut own = Vec::new();
    for url in config.peer_urls() {
        let (scheme, host) = url.split_once("://").context("a peer URL without scheme")?;
        let found = resolve(&resolver, host)
            .await
            .with_context(|| format!("couldn't resolve host {host:?}"))?;
        own.push((found, scheme.to_owned()));
    }
    let mut parts = Vec::new();
    let mut unnamed = 0;
    let mut failed = Vec::new();
    for (scheme, service) in [("https", "etcd-server-ssl"), ("http", "etcd-server")] {
        let service = format!("{service}{suffix}");
        match lookup(&resolver, &service, domain).await {
            Ok(targets) => {
                for (target, port) in targets {
                    let at = format!("{}:{port}", target.trim_end_matches('.'));
                    let address = resolve(&resolver, &at).await;
                    let is_own = |(own, _): &&(SocketAddr, String)| Some(*own) == address;
                    let name = match own.iter().find(is_own) {
                        Some((_, expected)) if expected != scheme => bail!(
                            "bootstrap at {scheme}://{at} from DNS for {service} has scheme \
                             mismatch with expected peer {expected}://{at}"
                        ),
                        Some(_) => config.name().to_owned(),
                        None => {
                            unnamed += 1;
                            (unnamed - 1).to_string()
                        }
                    };
                    parts.push(format!("{name}={scheme}://{at}"));
                }
            }
            Err(error) => {
                failed.push(format!("error querying DNS SRV records for _{service} {error:#}"));
            }
        }
    }
    if parts.is_empty() {
        bail!("{}", failed.join("; "));
    }
    for part in &parts {
        tracing::info!(node = part, "got bootstrap from DNS for etcd-server");
    }
    let found = config.read_founders(&parts.join(",")).map_err(anyhow::Error::msg)?;
    if !found.contains_key(config.name()) {
        bail!("cannot find local etcd member {:?} in SRV records", config.name());
    }
    Ok(found)
}

async fn lookup(
    resolver: &TokioResolver,
    service: &str,
    domain: &str,
) -> Result<Vec<(String, u16)>> {
    let name = format!("_{service}._tcp.{domain}");
    let found = resolver.lookup(name, RecordType::SRV).await?;
    let records = found.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(srv) => Some((srv.target.to_utf8(), srv.port)),
        _ => None,
    });
    Ok(records.collect())
}

/// The first address of `host:port`.
async fn resolve(resolver: &TokioResolver, at: &str) -> Option<SocketAddr> {
    if let Ok(address) = at.parse() {
        return Some(address);
    }
    let (host, port) = at.rsplit_once(':')?;
    let found = resolver.lookup_ip(host).await.ok()?;
    let address = found.iter().next()?;
    Some(SocketAddr::new(address, port.parse().ok()?))
}
