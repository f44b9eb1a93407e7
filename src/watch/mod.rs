//! `keelson watch`: every change below a prefix, once and in order, whichever members fail meanwhile.
//!
//! It speaks etcd's own Watch, so that it follows any etcd v3 cluster. What makes it more than a stream:
//! a position that is kept (`cursor`, `bookmark`), members that are changed (`source`), and somebody
//! each change is handed to (`sink`).

mod bookmark;
mod command;
mod cursor;
mod ended;
mod options;
mod resync;
mod run;
mod sink;
mod source;
mod stream;

pub use options::Options;
pub use run::run;
