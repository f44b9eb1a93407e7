//! The API server through its in-process service, on a store in memory.

mod cluster;
mod memory_store;

mod deletes;
mod kubelet;
mod lists;
mod permissions;
mod services;
mod watches;
mod writes;
