//! openraft over keelson-storage: log store, state machine, peer network, batching, read index.
//!
//! [`Node`] is all that others see of consensus. The library's types stay inside of this crate,
//! fixed in [`types`]; time, tasks and randomness come from [`runtime`], the disk from
//! `keelson_storage::disk`, other members from [`peer::Transport`]: a simulator provides them all.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
mod corruption;
pub mod error;
pub mod identity;
mod leadership;
mod lease_keeper;
mod leases;
pub mod log;
mod machine;
pub mod membership;
mod node;
mod observer;
pub mod peer;
mod peers;
mod pressure;
mod proofs;
mod proposals;
mod propose;
mod reads;
mod renewals;
mod rounds;
pub mod runtime;
mod slice;
mod start;
mod status;
mod succession;
mod ticker;
mod timeline;
pub mod types;

pub use config::NodeConfig;
pub use error::{LeaseError, MoveLeaderError, ProposeError, ReadError, StartError};
pub use leadership::Leadership;
pub use membership::{MemberChange, MemberError, MemberLimits, Members};
pub use node::{Node, Stop};
pub use observer::Observer;
pub use status::Status;
pub use timeline::{Role, RoleChange, Timeline};
pub use types::Member;

/// The command in a log entry's payload, for tools that print logs.
pub fn decode_payload(
    payload: bytes::Bytes,
) -> Result<keelson_storage::command::Command, prost::DecodeError> {
    proposals::decode_command(&types::Payload(payload))
}
