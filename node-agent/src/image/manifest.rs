//! The JSON documents of an image, as far as running it needs them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Media types that a registry is asked for.
pub const ACCEPTED: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Points at a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    #[serde(default)]
    pub size: u64,
    /// For which machines, in an index.
    pub platform: Option<Platform>,
    /// Names among them, in an index.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A kind of machine.
#[derive(Debug, Clone, Deserialize)]
pub struct Platform {
    /// As Go names it.
    #[serde(default)]
    pub architecture: String,
    /// As Go names it.
    #[serde(default)]
    pub os: String,
}

/// An image manifest or an index of several: told apart by what they have.
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    /// An index's manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// A manifest's configuration.
    pub config: Option<Descriptor>,
    /// A manifest's layers, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

impl Document {
    /// The manifest for this machine in an index.
    pub fn for_this_machine(&self) -> Option<&Descriptor> {
        let wanted = |one: &&Descriptor| match &one.platform {
            None => true,
            Some(platform) => platform.os == "linux" && platform.architecture == architecture(),
        };
        self.manifests
            .iter()
            .find(|one| one.platform.is_some() && wanted(one))
            .or_else(|| self.manifests.iter().find(wanted))
    }
}

/// This machine's architecture, as Go names it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// An image's configuration.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Config {
    /// How to run it.
    pub config: Option<RunConfig>,
    /// What it is made of.
    pub rootfs: RootFs,
}

/// The layers by what is in them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RootFs {
    /// Digests of the layers uncompressed, lowest first.
    #[serde(default)]
    pub diff_ids: Vec<String>,
}

/// How an image wants to be run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user[:group]`, by name or number.
    #[serde(default)]
    pub user: Option<String>,
    /// `NAME=value`.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// What is always run.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// What is run, or the arguments of what is always run.
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    /// Where it is run.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// How it is asked to end.
    #[serde(default)]
    pub stop_signal: Option<String>,
}
