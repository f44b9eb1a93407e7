//! The files of the runtime, and what is in them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use keelson_proto::cri;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::user::User;

/// The version of the records in this module.
pub(super) const RECORD_VERSION: u32 = 1;

/// Where things are under the root folder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

/// `sandboxes/ID/sandbox.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    pub(super) version: u32,
    /// Nanoseconds since 1970.
    pub(super) created_at: i64,
    pub(super) runtime_handler: String,
    /// Set last when it starts, cleared first when it stops.
    pub(super) ready: bool,
    pub(super) ips: Vec<String>,
}

/// `containers/ID/container.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    pub(super) version: u32,
    pub(super) sandbox_id: String,
    /// Nanoseconds since 1970.
    pub(super) created_at: i64,
    pub(super) image_id: String,
    pub(super) image_ref: String,
    pub(super) stop_signal: i32,
    pub(super) user: User,
    pub(super) cgroup: String,
    /// Why it could not be started, and when that was.
    pub(super) start_error: Option<(String, i64)>,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(super) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub(super) fn sandbox(&self, id: &str) -> PathBuf {
        self.sandboxes().join(id)
    }

    pub(super) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(super) fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    pub(super) fn namespace(&self, sandbox_id: &str, name: &str) -> PathBuf {
        self.sandbox(sandbox_id).join(super::shim::NAMESPACES_DIR).join(name)
    }
}

/// Writes JSON so that after a crash it is the old or the new, never half.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, &serde_json::to_vec_pretty(value)?)
}

/// Writes a message, likewise.
pub(super) fn write_message<T: Message>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, &value.encode_to_vec())
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("tmp");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    fs::rename(&fresh, path)
}

/// Reads JSON.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Reads a message.
pub(super) fn read_message<T: Message + Default>(path: &Path) -> io::Result<T> {
    T::decode(fs::read(path)?.as_slice()).map_err(io::Error::other)
}

/// The folders in `folder`: their names are ids.
pub(super) fn ids(folder: &Path) -> io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder)? {
        ids.extend(entry?.file_name().into_string());
    }
    ids.sort();
    Ok(ids)
}

/// The cgroup that holds a pod's containers.
pub(super) fn pod_cgroup(config: &cri::PodSandboxConfig, sandbox_id: &str) -> String {
    let parent = config.linux.as_ref().map_or("", |linux| linux.cgroup_parent.as_str());
    match parent {
        "" => format!("/keelson/{sandbox_id}"),
        parent if parent.starts_with('/') => parent.to_owned(),
        parent => format!("/{parent}"),
    }
}
