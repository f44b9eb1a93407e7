//! An HTTP/2 server connection that is lean for gRPC.
//!
//! One connection is one task: it reads frames, runs what they ask for and writes the answers, so
//! that a call with one message each way costs no task, no channel and no lock of its own. A
//! [`Service`] may take such calls as whole messages ([`Service::unary`]); all else comes as an HTTP
//! request whose body is a stream. Every buffer has a bound: a client that does not read its
//! answers is not read from either.
// upstream: RFC 9113 (HTTP/2), RFC 7541 (header compression), gRPC over HTTP/2
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod block;
mod body;
mod config;
mod connection;
mod frame;
mod head;
pub mod hpack;
mod output;
mod pings;
mod requests;
mod responses;
mod service;
mod stream;
mod wake;
mod window;

pub use body::{Body, Reset};
pub use config::Config;
pub use connection::{Connection, ConnectionError, PREFACE};
pub use frame::Reason;
pub use head::Head;
pub use service::{Service, Unary};
