//! SPDY/3.1 as port forwarding uses it: streams in pairs, one for the data and one for errors.
//!
//! upstream: "portforward.k8s.io" over "SPDY/3.1". There is no flow control: clients neither send
//! nor await window updates.

mod dictionary;
mod frame;
mod headers;
mod session;

pub(super) use session::serve;

/// What the upgrade is called.
pub(super) const UPGRADE_NAME: &str = "SPDY/3.1";
/// The protocol on top, in [`PROTOCOL_HEADER`].
pub(super) const PROTOCOL: &str = "portforward.k8s.io";
/// Where the two sides say which protocol they speak.
pub(super) const PROTOCOL_HEADER: &str = "x-stream-protocol-version";
