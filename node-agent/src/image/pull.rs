//! Pulls an image from a registry, checking the digest of everything that comes.

use std::net::IpAddr;
use std::path::Path;

use futures::{TryStreamExt, stream};
use oci_client::Reference;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
pub use oci_client::secrets::RegistryAuth;

use super::manifest::{ACCEPTED, Config, Descriptor, Document};
use super::store::{ImageError, ImageRecord, ImageStore, at, parse};
use super::{digest, reference};

/// Layers of one image fetched at once.
const LAYERS_AT_ONCE: usize = 3;
/// The longest manifest or configuration taken.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// How to talk to registries.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    /// Registries (`host[:port]`) spoken to without TLS, besides those on loopback addresses.
    pub plain_http: Vec<String>,
}

impl Registries {
    fn is_plain(&self, registry: &str) -> bool {
        let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.plain_http.iter().any(|plain| plain == registry)
            || host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Pulls the image of that name; what is there already is not fetched again.
pub async fn pull(
    store: &ImageStore,
    registries: &Registries,
    name: &str,
    auth: &RegistryAuth,
) -> Result<ImageRecord, ImageError> {
    let reference = reference::parse(name)?;
    let pull = Pull::new(store.clone(), registries, reference, auth.clone());
    let manifest = pull.manifest().await?;
    let document: Document = parse("manifest", &manifest)?;
    let config = document.config.as_ref().ok_or(ImageError::Lacks("configuration"))?;
    let config = pull.small_blob(config).await?;
    let parsed: Config = parse("image configuration", &config)?;
    let mut layers = store.plan(&parsed)?;
    if layers.len() != document.layers.len() {
        return Err(ImageError::Lacks("layer for each of its layer digests"));
    }
    let wanted = layers.iter_mut().zip(&document.layers);
    let missing = wanted.filter(|(layer, _)| !store.has_layer(&layer.chain_id));
    stream::iter(missing.map(Ok))
        .try_for_each_concurrent(LAYERS_AT_ONCE, async |(layer, descriptor)| {
            layer.blob = Some(pull.layer(descriptor).await?);
            Ok::<(), ImageError>(())
        })
        .await?;
    let (store, reference) = (store.clone(), pull.reference.clone());
    tokio::task::spawn_blocking(move || {
        let added = store.add(&manifest, &config, &layers, &[reference]);
        for blob in layers.iter().filter_map(|layer| layer.blob.as_ref()) {
            // Emptied at the next start at the latest.
            let _ = std::fs::remove_file(blob);
        }
        added
    })
    .await
    .map_err(|error| ImageError::Registry(error.to_string()))?
}

struct Pull {
    store: ImageStore,
    client: oci_client::Client,
    reference: Reference,
    auth: RegistryAuth,
}

impl Pull {
    fn new(
        store: ImageStore,
        registries: &Registries,
        reference: Reference,
        auth: RegistryAuth,
    ) -> Self {
        let protocol = match registries.is_plain(reference.resolve_registry()) {
            true => ClientProtocol::Http,
            false => ClientProtocol::Https,
        };
        let config = ClientConfig { protocol, user_agent: "keelson", ..ClientConfig::default() };
        Self { store, client: oci_client::Client::new(config), reference, auth }
    }

    /// The manifest for this machine.
    async fn manifest(&self) -> Result<Vec<u8>, ImageError> {
        let bytes = self.document(&self.reference).await?;
        let document: Document = parse("manifest", &bytes)?;
        if document.manifests.is_empty() {
            return Ok(bytes);
        }
        let chosen = document
            .for_this_machine()
            .ok_or(ImageError::Lacks("manifest for this machine's architecture"))?;
        self.document(&self.reference.clone_with_digest(chosen.digest.clone())).await
    }

    async fn document(&self, reference: &Reference) -> Result<Vec<u8>, ImageError> {
        let (bytes, _) = self
            .client
            .pull_manifest_raw(reference, &self.auth, ACCEPTED)
            .await
            .map_err(|error| self.explain(&error))?;
        if let Some(wanted) = reference.digest() {
            check(wanted, &digest::of(&bytes))?;
        }
        Ok(bytes.to_vec())
    }

    async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if descriptor.size > DOCUMENT_BYTES_MAX {
            return Err(ImageError::Lacks("configuration of a sane size"));
        }
        let mut bytes = Vec::new();
        self.client
            .pull_blob(&self.reference, &oci(descriptor), &mut bytes)
            .await
            .map_err(|error| self.explain(&error))?;
        check(&descriptor.digest, &digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Fetches a layer into a file of its own; the client compares its digest while writing.
    async fn layer(&self, descriptor: &Descriptor) -> Result<std::path::PathBuf, ImageError> {
        if digest::hex_part(&descriptor.digest).is_none() {
            return Err(ImageError::Lacks("well-formed layer digest"));
        }
        let path = self.store.scratch();
        let fetched = self.fetch(descriptor, &path).await;
        if fetched.is_err() {
            let _ = tokio::fs::remove_file(&path).await;
        }
        fetched.map(|()| path)
    }

    async fn fetch(&self, descriptor: &Descriptor, path: &Path) -> Result<(), ImageError> {
        let file = tokio::fs::File::create(path).await.map_err(at(path))?;
        let file = tokio::io::BufWriter::with_capacity(256 << 10, file);
        self.client
            .pull_blob(&self.reference, &oci(descriptor), file)
            .await
            .map_err(|error| self.explain(&error))
    }

    /// The error as clients of other runtimes know it.
    fn explain(&self, error: &OciDistributionError) -> ImageError {
        let name = self.reference.whole();
        let context = |text: String| format!("failed to pull and unpack image \"{name}\": {text}");
        // The error's own words follow: ": not found".
        let unresolved = || context(format!("failed to resolve reference \"{name}\": {name}"));
        match error {
            OciDistributionError::ImageManifestNotFoundError(_)
            | OciDistributionError::ServerError { code: 404, .. } => {
                ImageError::NotFound(unresolved())
            }
            OciDistributionError::RegistryError { envelope, .. }
                if envelope.errors.iter().any(|one| {
                    matches!(
                        one.code,
                        OciErrorCode::ManifestUnknown
                            | OciErrorCode::NameUnknown
                            | OciErrorCode::BlobUnknown
                    )
                }) =>
            {
                ImageError::NotFound(unresolved())
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => {
                ImageError::Unauthorized(context("pull access denied".to_owned()))
            }
            other => {
                let mut text = other.to_string();
                let mut cause = std::error::Error::source(other);
                while let Some(inner) = cause {
                    text = format!("{text}: {inner}");
                    cause = inner.source();
                }
                ImageError::Registry(context(text))
            }
        }
    }
}

fn oci(descriptor: &Descriptor) -> OciDescriptor {
    OciDescriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.clone(),
        size: i64::try_from(descriptor.size).unwrap_or(0),
        ..OciDescriptor::default()
    }
}

fn check(wanted: &str, got: &str) -> Result<(), ImageError> {
    if wanted == got {
        return Ok(());
    }
    Err(ImageError::Digest { wanted: wanted.to_owned(), got: got.to_owned() })
}
