//! Takes images from an OCI layout: a folder, or a tar archive of one.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::digest::{self, HashingReader};
use super::manifest::{Config, Descriptor, Document};
use super::reference;
use super::store::{ImageError, ImageRecord, ImageStore, at, parse};

/// Where an index names an image, best first.
const NAME_ANNOTATIONS: [&str; 2] =
    ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Imports every image of a layout. Blocks. An image is known by the full name that the layout's
/// index gives it; `name` overrides that for a layout of one image.
pub fn import(
    store: &ImageStore,
    from: &Path,
    name: Option<&str>,
) -> Result<Vec<ImageRecord>, ImageError> {
    if from.is_dir() {
        return import_folder(store, from, name);
    }
    let folder = store.scratch();
    let imported = extract(from, &folder).and_then(|()| import_folder(store, &folder, name));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    imported
}

/// Takes the files of a layout out of an archive, and no others.
fn extract(archive: &Path, folder: &Path) -> Result<(), ImageError> {
    let fail = |error| at(archive)(error);
    fs::create_dir_all(folder.join("blobs/sha256")).map_err(at(folder))?;
    let mut archive_file = tar::Archive::new(File::open(archive).map_err(at(archive))?);
    for entry in archive_file.entries().map_err(fail)? {
        let mut entry = entry.map_err(at(archive))?;
        let path: PathBuf = entry.path().map_err(at(archive))?.into_owned();
        let parts: Vec<&str> = path
            .components()
            .filter(|part| *part != Component::CurDir)
            .filter_map(|part| part.as_os_str().to_str())
            .collect();
        let to = match parts.as_slice() {
            ["index.json"] => folder.join("index.json"),
            ["blobs", "sha256", hex] if digest::hex_part(&format!("sha256:{hex}")).is_some() => {
                folder.join("blobs/sha256").join(hex)
            }
            _ => continue,
        };
        let mut file = File::create(&to).map_err(at(&to))?;
        io::copy(&mut entry, &mut file).map_err(at(&to))?;
    }
    Ok(())
}

fn import_folder(
    store: &ImageStore,
    folder: &Path,
    name: Option<&str>,
) -> Result<Vec<ImageRecord>, ImageError> {
    let path = folder.join("index.json");
    let index: Document = parse("image index", &fs::read(&path).map_err(at(&path))?)?;
    let layout = Layout { folder };
    let mut images = Vec::new();
    for descriptor in &index.manifests {
        let names = names(descriptor, name)?;
        images.push(layout.import(store, descriptor, &names)?);
    }
    match images.is_empty() {
        true => Err(ImageError::Lacks("manifest in its index")),
        false => Ok(images),
    }
}

fn names(
    descriptor: &Descriptor,
    name: Option<&str>,
) -> Result<Vec<oci_client::Reference>, ImageError> {
    let annotated = NAME_ANNOTATIONS.iter().find_map(|key| descriptor.annotations.get(*key));
    let name = name.or(annotated.map(String::as_str)).ok_or(ImageError::Lacks("name"))?;
    Ok(vec![reference::parse(name)?])
}

struct Layout<'a> {
    folder: &'a Path,
}

impl Layout<'_> {
    fn import(
        &self,
        store: &ImageStore,
        descriptor: &Descriptor,
        names: &[oci_client::Reference],
    ) -> Result<ImageRecord, ImageError> {
        let mut manifest = self.read(descriptor)?;
        let mut document: Document = parse("manifest", &manifest)?;
        if !document.manifests.is_empty() {
            let chosen = document
                .for_this_machine()
                .ok_or(ImageError::Lacks("manifest for this machine's architecture"))?;
            manifest = self.read(chosen)?;
            document = parse("manifest", &manifest)?;
        }
        let config = document.config.as_ref().ok_or(ImageError::Lacks("configuration"))?;
        let config = self.read(config)?;
        let mut layers = store.plan(&parse::<Config>("image configuration", &config)?)?;
        if layers.len() != document.layers.len() {
            return Err(ImageError::Lacks("layer for each of its layer digests"));
        }
        for (layer, descriptor) in layers.iter_mut().zip(&document.layers) {
            if !store.has_layer(&layer.chain_id) {
                layer.blob = Some(self.verified(descriptor)?);
            }
        }
        store.add(&manifest, &config, &layers, names)
    }

    fn path(&self, descriptor: &Descriptor) -> Result<PathBuf, ImageError> {
        let hex = digest::hex_part(&descriptor.digest)
            .ok_or(ImageError::Lacks("well-formed blob digest"))?;
        Ok(self.folder.join("blobs/sha256").join(hex))
    }

    fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let path = self.path(descriptor)?;
        let bytes = fs::read(&path).map_err(at(&path))?;
        compare(&descriptor.digest, digest::of(&bytes))?;
        Ok(bytes)
    }

    fn verified(&self, descriptor: &Descriptor) -> Result<PathBuf, ImageError> {
        let path = self.path(descriptor)?;
        let file = File::open(&path).map_err(at(&path))?;
        let got = HashingReader::new(file).finish().map_err(at(&path))?;
        compare(&descriptor.digest, got)?;
        Ok(path)
    }
}

fn compare(wanted: &str, got: String) -> Result<(), ImageError> {
    if wanted == got {
        return Ok(());
    }
    Err(ImageError::Digest { wanted: wanted.to_owned(), got })
}
