//! Where the files are, under one data directory.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The data directory's own map.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// The whole.
    pub root: PathBuf,
}

impl Dirs {
    /// Makes the directory, readable by the owner only.
    pub fn prepare(root: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .with_context(|| format!("make {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("find {}", root.display()))?;
        Ok(Self { root })
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The store's log and data.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// The node agent's: pods, containers, images, network.
    pub fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }
}

/// `/var/lib/keelson` for root, below the home directory for anybody else.
pub fn default_root() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/keelson");
    }
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    std::env::var_os("XDG_DATA_HOME")
        .map_or_else(|| home.join(".local/share"), PathBuf::from)
        .join("keelson")
}
