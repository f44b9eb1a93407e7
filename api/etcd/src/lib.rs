//! The etcd face of a store handle.
