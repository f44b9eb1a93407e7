//! Reads bbolt files, which etcd keeps its data in: page by page, and nothing of them is trusted.
//!
//! Little-endian, as every machine has it that etcd runs on. Pages carry no checksums, the two meta
//! pages apart; what a walk hands out is a tree with keys in strictly ascending order, or an error.
// upstream: bbolt v1.4, file format version 2

mod error;
mod file;
mod page;
#[cfg(test)]
mod tests;

pub use error::BoltError;
pub use file::{BoltFile, Visit};
