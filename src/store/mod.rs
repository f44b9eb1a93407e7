//! `keelson store`: one member with etcd's flags, and tools for its files.

mod backup;
mod bootstrap;
mod compaction;
mod completion;
mod config;
mod export;
#[cfg(feature = "failpoints")]
mod failpoints;
mod files;
mod flags;
mod forward;
mod founding;
mod listen;
mod member;
mod offline;
mod peer_http;
mod repair;
mod start;
pub mod timeline;
mod tls;
mod tools;
mod unsynced;

use std::process::ExitCode;

pub use member::{address, make_private, open, stop};

/// The binary called as `etcdutl`, whose errors begin as those of etcd's do.
pub fn run_tools(arguments: &[String]) -> anyhow::Result<ExitCode> {
    Ok(tools::run(arguments).unwrap_or_else(|error| {
        eprintln!("Error: {error:#}");
        ExitCode::FAILURE
    }))
}

/// Runs a tool where the first argument names one, else a member.
pub fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    match arguments.first() {
        Some(first) if first == "grpc-proxy" => {
            anyhow::bail!("grpc-proxy is not part of keelson: clients connect to the members")
        }
        Some(first) if first == "gateway" => forward::run(&arguments[1..]),
        Some(first) if tools::is_tool(first) => tools::run(arguments),
        _ => Ok(start::run(arguments)),
    }
}
