//! Everything between a Kubernetes HTTP request and a store transaction.
// A test that cannot go on panics.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod api_server;
mod auth;
mod bootstrap;
mod cache;
mod call;
mod cel;
mod compaction;
mod config;
mod context;
mod conversion;
mod custom;
pub mod decode;
pub mod defaulting;
mod deletion;
pub mod discovery;
mod endpoints;
pub mod facts;
mod handler;
mod input;
pub mod kinds;
mod layers;
mod managed;
mod metrics;
mod negotiate;
pub mod openapi;
pub mod patch;
pub mod protobuf;
mod ready_endpoints;
mod request_info;
mod respond;
mod reviews;
pub mod selectors;
mod server;
mod service_addresses;
pub mod status;
mod storage;
mod stream;
mod subresources;
pub mod table;
mod user;
pub mod validation;
mod verbs;
mod webhook;

pub use api_server::{ApiServer, StartError};
pub use auth::token_keys::KeyError;
pub use config::{Config, Connection, KubeletDialer, NoKubelets, NodeAddress};
pub use server::{Body, InProcess};
pub use user::UserInfo;
