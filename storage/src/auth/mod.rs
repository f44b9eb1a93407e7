//! Users, roles and what they may touch: replicated state and pure rules. While authentication is
//! off nothing here is asked.
// upstream: etcd v3 API, "Auth"

mod change;
mod error;
mod permission;
mod ranges;
mod state;
mod tokens;

pub(crate) use change::Ended;
pub use error::AuthError;
pub use permission::Authority;
pub use state::AuthState;
pub use tokens::Tokens;
