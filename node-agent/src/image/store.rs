//! The images that the node has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::manifest::{Config, Document, RunConfig};
use super::reference::{ReferenceError, with_digest};
use super::unpack::{self, UnpackError};
use super::{digest, reference};

/// The version of `index.json`.
const INDEX_VERSION: u32 = 1;

/// One image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The digest of its configuration.
    pub id: String,
    /// Full names with a tag.
    pub tags: BTreeSet<String>,
    /// Full names with the manifest's digest.
    pub digests: BTreeSet<String>,
    /// Of the compressed layers and the configuration.
    pub size_bytes: u64,
    /// Chain ids of its layers, lowest first.
    pub layers: Vec<String>,
    /// How it wants to be run.
    pub run: RunConfig,
}

/// What went wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not an image name.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry's answer.
    #[error("{0}")]
    Registry(String),
    /// The registry does not have it.
    #[error("{0}: not found")]
    NotFound(String),
    /// The registry wants other credentials.
    #[error("{0}: authorization failed")]
    Unauthorized(String),
    /// A blob is not what its name says.
    #[error("blob {wanted} has digest {got}")]
    Digest {
        /// The name.
        wanted: String,
        /// The content.
        got: String,
    },
    /// Not of the form that the specification gives.
    #[error("malformed {what}: {error}")]
    Json {
        /// Which document.
        what: &'static str,
        /// The reason.
        error: serde_json::Error,
    },
    /// It lacks something.
    #[error("image has no {0}")]
    Lacks(&'static str),
    /// A layer cannot be unpacked.
    #[error("layer {layer}: {error}")]
    Unpack {
        /// Its digest.
        layer: String,
        /// The reason.
        error: UnpackError,
    },
    /// The disk's answer.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// Names the path in an input or output error.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |error| ImageError::Io { path, error }
}

/// A layer ready to be unpacked.
#[derive(Debug)]
pub(super) struct PendingLayer {
    /// The digest of its content uncompressed.
    pub(super) diff_id: String,
    /// The id of it and those below.
    pub(super) chain_id: String,
    /// The verified blob; none if the layer is there already.
    pub(super) blob: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    version: u32,
    images: BTreeMap<String, ImageRecord>,
}

/// All images of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ImageStore {
    root: Arc<PathBuf>,
    index: Arc<Mutex<Index>>,
}

impl ImageStore {
    /// Opens the store in this folder, or makes it.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let tmp = root.join("tmp");
        if tmp.exists() {
            fs::remove_dir_all(&tmp).map_err(at(&tmp))?;
        }
        for folder in [tmp, root.join("blobs/sha256"), root.join("layers")] {
            fs::create_dir_all(&folder).map_err(at(&folder))?;
        }
        let path = root.join("index.json");
        let index = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| ImageError::Json { what: "image index", error })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Index { version: INDEX_VERSION, images: BTreeMap::new() }
            }
            Err(error) => return Err(at(&path)(error)),
        };
        Ok(Self { root: Arc::new(root.to_owned()), index: Arc::new(Mutex::new(index)) })
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every image.
    pub fn list(&self) -> Vec<ImageRecord> {
        self.index.lock().images.values().cloned().collect()
    }

    /// The image of that id, name or digest reference.
    pub fn find(&self, name: &str) -> Option<ImageRecord> {
        let index = self.index.lock();
        if let Some(record) = index.images.get(name) {
            return Some(record.clone());
        }
        let bare = format!("sha256:{name}");
        if let Some(record) = index.images.get(&bare) {
            return Some(record.clone());
        }
        let reference = reference::parse(name).ok()?;
        let full = match reference.digest() {
            Some(digest) => with_digest(&reference, digest),
            None => reference.whole(),
        };
        index
            .images
            .values()
            .find(|record| record.tags.contains(&full) || record.digests.contains(&full))
            .cloned()
    }

    /// The unpacked layers of an image, lowest first.
    pub fn layer_folders(&self, record: &ImageRecord) -> Vec<PathBuf> {
        record.layers.iter().map(|chain_id| self.layer_folder(chain_id)).collect()
    }

    fn layer_folder(&self, chain_id: &str) -> PathBuf {
        self.root.join("layers").join(digest::hex_part(chain_id).unwrap_or("invalid")).join("fs")
    }

    /// A name for a file or folder that nobody else uses.
    pub(super) fn scratch(&self) -> PathBuf {
        self.root.join("tmp").join(uuid::Uuid::new_v4().simple().to_string())
    }

    /// The layers of an image, and which of them are missing.
    pub(super) fn plan(&self, config: &Config) -> Result<Vec<PendingLayer>, ImageError> {
        let mut parent: Option<String> = None;
        let mut layers = Vec::new();
        for diff_id in &config.rootfs.diff_ids {
            if digest::hex_part(diff_id).is_none() {
                return Err(ImageError::Lacks("well-formed layer digest"));
            }
            let chain_id = digest::chain(parent.as_deref(), diff_id);
            parent = Some(chain_id.clone());
            layers.push(PendingLayer { diff_id: diff_id.clone(), chain_id, blob: None });
        }
        Ok(layers)
    }

    /// Whether a layer is there, whole.
    pub(super) fn has_layer(&self, chain_id: &str) -> bool {
        self.layer_folder(chain_id).exists()
    }

    /// Unpacks what is missing and makes the image known under `names`. Blocks.
    pub(super) fn add(
        &self,
        manifest: &[u8],
        config: &[u8],
        layers: &[PendingLayer],
        names: &[oci_client::Reference],
    ) -> Result<ImageRecord, ImageError> {
        for (position, layer) in layers.iter().enumerate() {
            self.unpack(layer, &layers[..position])?;
        }
        let parsed: Document = parse("manifest", manifest)?;
        let run = parse::<Config>("image configuration", config)?.config.unwrap_or_default();
        let manifest_digest = self.keep(manifest)?;
        let id = self.keep(config)?;
        let size_bytes =
            parsed.layers.iter().map(|layer| layer.size).sum::<u64>() + config.len() as u64;
        let mut index = self.index.lock();
        let tags: BTreeSet<String> =
            names.iter().filter(|name| name.digest().is_none()).map(|name| name.whole()).collect();
        for other in index.images.values_mut() {
            other.tags.retain(|tag| !tags.contains(tag));
        }
        let record = index.images.entry(id.clone()).or_insert_with(|| ImageRecord {
            id,
            tags: BTreeSet::new(),
            digests: BTreeSet::new(),
            size_bytes,
            layers: layers.iter().map(|layer| layer.chain_id.clone()).collect(),
            run,
        });
        record.tags.extend(tags);
        record.digests.extend(names.iter().map(|name| with_digest(name, &manifest_digest)));
        // A reference that pinned an index keeps working by the index's digest.
        let pinned = names.iter().filter_map(|name| Some(with_digest(name, name.digest()?)));
        record.digests.extend(pinned);
        let record = record.clone();
        self.save(&index)?;
        Ok(record)
    }

    fn unpack(&self, layer: &PendingLayer, below: &[PendingLayer]) -> Result<(), ImageError> {
        let folder = self.layer_folder(&layer.chain_id);
        let (Some(blob), false) = (&layer.blob, folder.exists()) else { return Ok(()) };
        let lower: Vec<PathBuf> =
            below.iter().rev().map(|layer| self.layer_folder(&layer.chain_id)).collect();
        let fresh = self.scratch();
        let fail = |error| ImageError::Unpack { layer: layer.diff_id.clone(), error };
        let got = unpack::unpack(blob, &fresh.join("fs"), &lower).map_err(fail);
        let done = got.and_then(|got| match got == layer.diff_id {
            true => Ok(()),
            false => Err(ImageError::Digest { wanted: layer.diff_id.clone(), got }),
        });
        let whole = folder.parent().unwrap_or(&folder).to_owned();
        let done = done.and_then(|()| match fs::rename(&fresh, &whole) {
            // Another pull was quicker with the same content.
            Err(_) if folder.exists() => Ok(()),
            renamed => renamed.map_err(at(&whole)),
        });
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(at(&fresh))?;
        }
        done
    }

    /// Keeps a small blob; says its digest.
    fn keep(&self, bytes: &[u8]) -> Result<String, ImageError> {
        let digest = digest::of(bytes);
        let hex = digest::hex_part(&digest).unwrap_or("invalid");
        let path = self.root.join("blobs/sha256").join(hex);
        if !path.exists() {
            replace(&self.scratch(), &path, bytes).map_err(at(&path))?;
        }
        Ok(digest)
    }

    /// Forgets the image that `name` stands for, whole; with it the layers that neither another
    /// image nor one of the images `in_use` has. No such image is no error.
    pub fn remove(&self, name: &str, in_use: &BTreeSet<String>) -> Result<(), ImageError> {
        let Some(record) = self.find(name) else { return Ok(()) };
        let mut index = self.index.lock();
        index.images.remove(&record.id);
        self.save(&index)?;
        if in_use.contains(&record.id) {
            return Ok(()); // the next removal of an image with these layers takes them
        }
        let needed: BTreeSet<&String> =
            index.images.values().flat_map(|image| &image.layers).collect();
        for chain_id in record.layers.iter().filter(|id| !needed.contains(id)) {
            let folder = self.layer_folder(chain_id);
            let whole = folder.parent().unwrap_or(&folder);
            // Out of sight first: a folder half removed must not pass for a layer.
            let condemned = self.scratch();
            if fs::rename(whole, &condemned).is_ok() {
                fs::remove_dir_all(&condemned).map_err(at(&condemned))?;
            }
        }
        Ok(())
    }

    fn save(&self, index: &Index) -> Result<(), ImageError> {
        let path = self.root.join("index.json");
        let text = serde_json::to_vec_pretty(index)
            .map_err(|error| ImageError::Json { what: "image index", error })?;
        replace(&self.scratch(), &path, &text).map_err(at(&path))
    }

    /// How much the images take: bytes and files.
    pub fn usage(&self) -> (u64, u64) {
        let layers = self.list().iter().map(|record| record.size_bytes).sum();
        (layers, 0)
    }
}

/// Parses a document of an image.
pub(super) fn parse<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::Json { what, error })
}

/// Writes a file so that it is either the old or the new one after a crash.
fn replace(fresh: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(fresh)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(fresh, path)
}
