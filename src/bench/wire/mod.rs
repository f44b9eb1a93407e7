//! gRPC over HTTP/2 for load: as little CPU a call as can be, every answer checked all the same.

mod answer;
mod connection;
mod hpack;
mod link;
mod template;

pub(crate) use answer::{Fields, Value, revision};
pub(crate) use connection::{Call, Event, Finish, WINDOW_CALL};
pub(crate) use link::{Dialer, Either, Script, Signal, Turn, Wanted, drive};
pub(crate) use template::{Template, digits};
