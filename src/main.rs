//! `keelson`: one binary that is a whole control plane.

// Nothing is reachable from outside of a binary; `pub` says what a module offers the others.
#![allow(unreachable_pub)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod broken_pipe;
mod chaos;
mod check;
mod cli;
mod dirs;
mod down;
mod host;
mod kubeconfig;
mod lock;
mod logging;
mod measured;
mod pki;
mod scratch;
mod settled;
mod sim;
mod store;
mod tls;
mod up;
mod watch;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The hidden subcommand that keeps a pod's containers; it never returns to the rest.
const SHIM: &str = "shim";

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // Before any runtime or thread exists: the shim forks, and stays small.
    if arguments.get(1).is_some_and(|first| first == SHIM) {
        let code = keelson_node_agent::runtime::shim::main(arguments.into_iter().skip(2));
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    // Huge pages would double what an idle process holds. What it starts decides for itself.
    let _as_before = nix::sys::prctl::set_thp_disable(true);
    broken_pipe::end_quietly(|| cli::run(arguments))
}
