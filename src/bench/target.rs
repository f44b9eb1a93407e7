//! The store that a load goes to.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use keelson_client::{GrpcStore, GrpcStoreConfig};

use super::wire::Dialer;

/// Certificates for https endpoints.
#[derive(Debug, Clone, Default, Args)]
pub struct Tls {
    /// PEM file of the certificate authority, for https endpoints.
    #[arg(long)]
    pub cacert: Option<PathBuf>,
    /// PEM file of the client certificate.
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM file of the client's key.
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Endpoints, and how to reach them.
#[derive(Debug, Clone, Default, Args)]
pub struct Target {
    /// Client URLs of the store, comma-separated.
    #[arg(long, value_delimiter = ',', required = true)]
    pub endpoints: Vec<String>,
    /// How to reach them by https.
    #[command(flatten)]
    pub tls: Tls,
}

impl Target {
    /// One for each endpoint.
    pub(crate) fn dialers(&self) -> Result<Vec<Dialer>> {
        if self.endpoints.iter().all(String::is_empty) {
            bail!("--endpoints names no endpoint");
        }
        self.endpoints.iter().map(|endpoint| Dialer::new(endpoint, &self.tls)).collect()
    }

    /// A client for what is done once, aside from the load.
    pub(crate) fn store(&self) -> Result<GrpcStore> {
        let read = |path: &Option<PathBuf>| -> Result<Option<Vec<u8>>> {
            path.as_ref()
                .map(|path| std::fs::read(path).with_context(|| format!("read {}", path.display())))
                .transpose()
        };
        let endpoints = self.endpoints.iter().map(|endpoint| {
            if endpoint.contains("://") { endpoint.clone() } else { format!("http://{endpoint}") }
        });
        Ok(GrpcStore::new(&GrpcStoreConfig {
            endpoints: endpoints.collect(),
            ca_pem: read(&self.tls.cacert)?,
            identity_pem: read(&self.tls.cert)?.zip(read(&self.tls.key)?),
            connections: 1,
        })?)
    }
}
