//! Images for the tests, built from the static busybox of the host.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const BUSYBOX: &str = "/bin/busybox";
/// The names under which busybox is called in the image.
const APPLETS: [&str; 31] = [
    "sh", "cat", "echo", "sleep", "ls", "env", "id", "wget", "nc", "nslookup", "httpd", "hostname",
    "true", "false", "kill", "mkdir", "touch", "grep", "head", "tail", "date", "ps", "mount",
    "readlink", "stat", "dd", "test", "sync", "tar", "rm", "tty",
];

/// An image as a registry or a layout holds it.
pub struct Image {
    /// Digest to content.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// The manifest's content.
    pub manifest: Vec<u8>,
}

/// A header whose every number is set: readers refuse empty ones.
fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_mode(0o777);
    header
}

/// What a registry calls a blob.
pub fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

/// busybox with the applets above; `version` makes images that differ, and is in `/version`.
pub fn busybox(version: &str) -> Result<Image> {
    let binary = std::fs::read(BUSYBOX).context("read busybox-static")?;
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for folder in ["bin", "etc", "tmp", "www"] {
        let mut header = header();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if folder == "tmp" { 0o1777 } else { 0o755 });
        header.set_size(0);
        archive.append_data(&mut header, folder, std::io::empty())?;
    }
    let mut file = |path: &str, mode: u32, content: &[u8]| -> Result<()> {
        let mut header = header();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        Ok(archive.append_data(&mut header, path, content)?)
    };
    file("bin/busybox", 0o755, &binary)?;
    file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    )?;
    file("etc/group", 0o644, b"root:x:0:\nnobody:x:65534:\n")?;
    file("version", 0o644, version.as_bytes())?;
    file("www/index.html", 0o644, format!("version {version}\n").as_bytes())?;
    for applet in APPLETS {
        let mut header = header();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    let layer = archive.into_inner()?.finish()?;
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(layer.as_slice()), &mut plain)?;
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [digest(&plain)]},
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(&layer), "size": layer.len()}],
    }))?;
    let blobs = [(digest(&config), config), (digest(&layer), layer)].into();
    Ok(Image { blobs, manifest })
}

/// Writes an OCI archive that holds `image` under `name`.
pub fn archive(image: &Image, name: &str, path: &Path) -> Result<()> {
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&image.manifest), "size": image.manifest.len(),
            "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name},
        }],
    }))?;
    let mut archive = tar::Builder::new(std::fs::File::create(path)?);
    let mut file = |path: String, content: &[u8]| -> Result<()> {
        let mut header = header();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        Ok(archive.append_data(&mut header, path, content)?)
    };
    file("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    file("index.json".to_owned(), &index)?;
    let blob = |digest: &str| digest.replace("sha256:", "blobs/sha256/");
    file(blob(&digest(&image.manifest)), &image.manifest)?;
    for (name, content) in &image.blobs {
        file(blob(name), content)?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}
