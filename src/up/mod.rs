//! `keelson up`: everything in one process.

mod agent;
mod dns;
mod kubelet;
mod member;
pub mod names;
mod options;
mod run;
mod screen;

pub use options::{Options, duration};
pub use run::run;
