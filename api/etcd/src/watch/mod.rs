//! Watch: one stream, many watchers, answers in one order.

mod leaderless;
mod response;
mod session;

pub(crate) use leaderless::Leaderless;
pub(crate) use session::watch;
