//! The etcd face on a port, asked by clients that know nothing of it.
#![allow(clippy::unwrap_used)]

mod against_etcd;
mod auth;
mod auth_against_etcd;
mod dialogues_against_etcd;
mod edges_against_etcd;
mod etcdctl;
mod http;
mod in_process;
mod kv;
mod locks;
mod maintenance;
mod member;
mod tls;
mod watch;
mod watch_many;
