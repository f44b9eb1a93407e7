//! The command line: one enum of subcommands, and how they end.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{bench, broken_pipe, chaos, check, down, sim, store, up, watch};

/// A whole Kubernetes control plane in one binary, on its own etcd-compatible store.
#[derive(Debug, Parser)]
#[command(name = "keelson", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run store, API server, controllers, scheduler and node agent until Ctrl-C.
    ///
    /// Containers go on running when it ends, and are adopted by the next start.
    Up(Box<up::Options>),
    /// Stop what `up` left behind: containers, mounts, links, packet filter rules.
    Down(down::Options),
    /// The store alone, with etcd's flags, and tools for its files.
    #[command(disable_help_flag = true)]
    Store {
        /// Flags of a member as etcd has them, or a tool's name and its flags.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Break a cluster on purpose, ours or etcd's, and check that every promise was kept.
    ///
    /// It is started for the run, in namespaces of its own where root allows. Exit codes are those of
    /// `check`.
    Chaos(Box<chaos::Options>),
    /// Hold a recorded history against what a store promises: linearizability, watches, leases, locks.
    ///
    /// Exit code 0: every promise is kept; 1: one is broken, or the file cannot be read; 3: that
    /// could not be decided.
    Check(check::Options),
    /// Measure a store or a whole control plane: rate, latency, CPU, memory, start.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run a cluster, its clients and its faults in one thread, from one seed, and check everything.
    Sim(sim::Options),
    /// Print every change below a prefix as a line of JSON, or run a command for each.
    ///
    /// Of a store of ours or of etcd; no change twice and none left out, whichever members fail.
    /// Exit code 0: stopped, or so many as wanted; 1: refused or not reached; 3: what is missing is
    /// compacted away; 4: the command failed.
    Watch(Box<watch::Options>),
}

/// Runs the command; the exit code is 0, 1 for a failure, 2 for wrong usage.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let called = match name.and_then(|name| name.to_str()) {
        Some("etcd") => Some(store::run as fn(&[String]) -> _),
        Some("etcdutl") => Some(store::run_tools as fn(&[String]) -> _),
        _ => None,
    };
    if let Some(run) = called {
        let text = |argument: &OsString| argument.to_string_lossy().into_owned();
        let arguments: Vec<String> = arguments.iter().skip(1).map(text).collect();
        return end(run(&arguments));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _printed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let ended = |result: anyhow::Result<()>| result.map(|()| ExitCode::SUCCESS);
    end(match cli.command {
        Command::Up(options) => ended(up::run(*options)),
        Command::Down(options) => ended(down::run(&options)),
        Command::Store { arguments } => store::run(&arguments),
        Command::Chaos(options) => chaos::run(*options),
        Command::Check(options) => check::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Watch(options) => watch::run(*options),
        Command::Bench(bench) => ended(
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(anyhow::Error::from)
                .and_then(|runtime| runtime.block_on(bench.run())),
        ),
    })
}

/// Ends the process without its exit handlers, for whoever has had the engine open: RocksDB's
/// threads may still run, and must not meet the destructors of its statics. Nothing is left to be
/// written: what was acknowledged is in the log.
pub fn end_now(code: i32) -> ! {
    keelson_node_agent::sys::process::exit_now(code)
}

fn end(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.or_else(|error| broken_pipe::code().ok_or(error)).unwrap_or_else(|error| {
        eprintln!("keelson: {error:#}");
        ExitCode::FAILURE
    })
}
