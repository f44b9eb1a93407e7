//! Exec, attach and port-forward: CRI answers them with a URL, which is served here.
//!
//! A URL holds a token that is good once and for a minute. The server listens on loopback alone
//! and speaks WebSocket with Kubernetes' channel protocols, and SPDY for ports.

mod channels;
mod forward;
mod offers;
mod process;
mod spdy;
mod upgrade;

pub(super) use offers::{Stream, Streams};
