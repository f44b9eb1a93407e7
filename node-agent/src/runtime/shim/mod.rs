//! The shim: one small process a pod that holds the sandbox and outlives the main process.
//!
//! It is this same binary executed again, with one thread and no async runtime, since making
//! containers needs a fork and since a node has a hundred of them. It starts the pod's containers,
//! reaps them, writes their logs and their exit records, and answers on a unix socket in the
//! sandbox's folder. Whatever touches much memory (libcontainer, JSON of a spec) happens in forked
//! children that end at once, so that the shim itself stays small.
//!
//! The folder is the only argument; `shim.json` in it says the rest. Ready, it writes a line to
//! its standard output: `ready`, or what is wrong.

mod connection;
mod container;
mod create;
mod exec;
mod log;
mod payload;
mod sandbox;
mod server;
mod worker;

pub mod protocol;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The file that tells a shim what to hold.
pub const CONFIG_FILE: &str = "shim.json";
/// The shim's socket, in the same folder.
pub const SOCKET_FILE: &str = "shim.sock";
/// The namespaces pinned by bind mounts, in the same folder.
pub const NAMESPACES_DIR: &str = "ns";
/// What a shim says once it can be called.
pub const READY: &str = "ready";

/// What one shim holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimConfig {
    /// The protocol version of the program that wrote this.
    pub version: u32,
    /// The sandbox's id.
    pub sandbox_id: String,
    /// The name in the sandbox's own UTS namespace.
    pub hostname: Option<String>,
    /// Make a network namespace.
    pub network: bool,
    /// Make an IPC namespace.
    pub ipc: bool,
    /// Make a UTS namespace.
    pub uts: bool,
    /// Make a process namespace that the pod's containers share.
    pub pid: bool,
    /// Set in the sandbox's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// The shim's own cgroups, one folder a hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// Where libcontainer keeps the state of the pod's containers.
    pub state_dir: PathBuf,
}

/// Runs a shim until it is told to end; `args` is what follows the subcommand. Returns the exit
/// code. Call it before any thread is started.
pub fn main(args: impl Iterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.collect();
    let [dir] = args.as_slice() else {
        eprintln!("usage: keelson shim SANDBOX-FOLDER (started by the container runtime)");
        return 2;
    };
    match server::Server::start(dir.as_ref()) {
        Ok(server) => {
            say(READY);
            sandbox::leave_stdio();
            server.run()
        }
        Err(error) => {
            say(&error.to_string());
            1
        }
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    // Nobody reading is no reason to stop: the socket is the way to find a shim.
    let _ = writeln!(out, "{}", line.replace('\n', " "));
    let _ = out.flush();
}
