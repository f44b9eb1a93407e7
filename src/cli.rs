//! The command line: one enum of subcommands, and how they end.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{bench, down, store, up};

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
    Store(Box<store::Options>),
    /// Measure a store or a whole control plane: rate, latency, CPU, memory, start.
    #[command(subcommand)]
    Bench(bench::Bench),
}

/// Runs the command; the exit code is 0, 1 for a failure, 2 for wrong usage.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let as_etcd = name.is_some_and(|name| name == "etcd");
    let arguments = if as_etcd { store::as_etcd(arguments) } else { arguments };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _printed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Up(options) => up::run(*options),
        Command::Down(options) => down::run(&options),
        Command::Store(options) => store::run(*options),
        Command::Bench(bench) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(bench.run())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson: {error:#}");
            ExitCode::FAILURE
        }
    }
}
