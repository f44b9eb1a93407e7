//! The edges of the API server: sockets and callers in the same process, both into one handler.

pub(crate) mod body;
mod connection;
mod in_process;

pub use body::Body;
pub use in_process::InProcess;
pub(crate) use in_process::InProcessUser;

pub(crate) use body::RequestBody;
pub(crate) use connection::{PeerCertificate, serve};
