//! A container image of one static program, written as an OCI layout for `--import-image`.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

/// Where the program is in the image.
pub const PROGRAM: &str = "/bin/busybox";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Writes the layout folder `layout` with one image, called `name`, that holds `program`.
pub fn write(program: &Path, name: &str, layout: &Path) -> Result<()> {
    let content = std::fs::read(program)
        .with_context(|| format!("read the program {}", program.display()))?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, PROGRAM.trim_start_matches('/'), content.as_slice())?;

    let blobs = Blobs { dir: layout.join("blobs/sha256") };
    std::fs::create_dir_all(&blobs.dir).with_context(|| format!("make {}", blobs.dir.display()))?;
    let layer = blobs.add(LAYER, &archive.into_inner()?)?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": [PROGRAM]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = blobs.add(CONFIG, &serde_json::to_vec(&config)?)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
    });
    let mut manifest = blobs.add(MANIFEST, &serde_json::to_vec(&manifest)?)?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(layout.join("index.json"), serde_json::to_vec(&index)?)?;
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

struct Blobs {
    dir: std::path::PathBuf,
}

impl Blobs {
    /// Stores `content` under its digest; the answer is its descriptor.
    fn add(&self, media_type: &str, content: &[u8]) -> Result<serde_json::Value> {
        let digest = ring::digest::digest(&ring::digest::SHA256, content);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(self.dir.join(&hex), content)?;
        Ok(json!({
            "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len(),
        }))
    }
}
