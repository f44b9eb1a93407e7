//! The wire: etcd v3, peer transport and CRI messages and services.
