//! Watch: one stream, many watchers, answers in one order.

mod response;
mod session;

pub(crate) use session::watch;
