//! The embedded container runtime: a CRI v1 server of our own.
//!
//! Everything is under one root folder:
//!
//! - `images/`: see [`crate::image`];
//! - `sandboxes/ID/`: `config.pb` (what CRI said), `sandbox.json` (state and addresses),
//!   `hostname`, `hosts`, `resolv.conf`, `shm/` (a tmpfs), `ns/` (pinned namespaces), `shim.json`
//!   and `shim.sock` (the [`shim`]), `oci/` (libcontainer's state of the pod's containers);
//! - `containers/ID/`: `config.pb`, `config.json` (the OCI runtime specification),
//!   `container.json`, `upper/`, `work/` and `rootfs/` (the overlay), `exit.json` (how it ended,
//!   written by the shim).
//!
//! A record is replaced as a whole and written before what it speaks of is made (a sandbox, which
//! needs undoing) or after (a container, which needs only deleting). So the process can be killed
//! at any point: the next one finds every sandbox, connects to its shim and goes on; containers do
//! not notice.

mod adopt;
mod capabilities;
pub mod cgroup;
mod client;
mod config;
mod containers;
mod embedded;
mod error;
mod exec;
mod image_service;
mod layout;
mod model;
mod mounts;
mod sandboxes;
mod seccomp;
mod service;
pub mod shim;
mod signals;
mod spec;
mod stats;
mod status;
mod streaming;
mod tear_down;
mod user;

pub use crate::image::pull::Registries;
pub use config::RuntimeConfig;
pub use embedded::{CriConnector, EmbeddedRuntime};
pub use error::RuntimeError;
pub use tear_down::tear_down;
