//! What the embedded runtime is told.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::image::pull::Registries;
use crate::network::PodNetwork;

/// How the embedded runtime is to work.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Where everything is kept; see the module's documentation.
    pub root_dir: PathBuf,
    /// Connects sandboxes.
    pub network: Arc<dyn PodNetwork>,
    /// How to talk to registries.
    pub registries: Registries,
    /// The cgroup that the shims' own cgroups are made in.
    pub shim_cgroup: String,
    /// The program that is a shim, and its first arguments; the sandbox's folder is added.
    pub shim_command: Vec<OsString>,
    /// The whole environment of a shim.
    pub shim_environment: Vec<(String, String)>,
    /// Where exec, attach and port-forward streams are served; a loopback address.
    pub streaming_address: SocketAddr,
}

impl RuntimeConfig {
    /// The usual settings: this program's `shim` subcommand, streams on a free loopback port.
    pub fn new(root_dir: PathBuf, network: Arc<dyn PodNetwork>) -> Self {
        Self {
            root_dir,
            network,
            registries: Registries::default(),
            shim_cgroup: "/keelson-shims".to_owned(),
            // By this name it is this very program, even after the file was replaced.
            shim_command: vec!["/proc/self/exe".into(), "shim".into()],
            // An allocator's huge pages would be most of a shim; programs that use another one do
            // not mind the word. Containers do not inherit it.
            shim_environment: vec![("MIMALLOC_ALLOW_THP".to_owned(), "0".to_owned())],
            streaming_address: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}
