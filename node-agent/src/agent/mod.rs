//! The agent as a whole: its configuration, what its parts share, and its life.

mod config;
mod context;
mod cri;
mod objects;
mod pod_source;
mod recorder;
mod services;
mod start;
mod tear_down;
mod tokens;

pub use config::AgentConfig;
pub(crate) use config::KUBELET_VERSION;
pub(crate) use context::Context;
pub use cri::CriClients;
pub(crate) use cri::reason_of;
pub(crate) use objects::{Contents, ObjectCache, ObjectKey, ObjectKind, ObjectState};
pub(crate) use recorder::{EventType, Recorder};
pub(crate) use services::{ServiceLinks, visible_services};
pub use start::{Agent, StartError};
pub use tear_down::tear_down_volumes;
pub(crate) use tokens::{TokenCache, TokenSpec};
