//! `keelson store`: one member with etcd's flags, and tools for its files.

mod files;
mod identity;
mod member;
mod options;

pub use identity::{cluster as cluster_id, member as member_id};
pub use member::{address, make_private, open, run, stop};
pub use options::{Options, as_etcd};
