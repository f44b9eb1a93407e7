//! The API server through its in-process service, on a store in memory.

// A test that cannot go on panics.
#![allow(clippy::unwrap_used)]

mod cluster;
mod memory_store;

mod deletes;
mod kubelet;
mod lists;
mod messages;
mod permissions;
mod services;
mod watches;
mod writes;
