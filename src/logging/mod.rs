//! Where log lines go: standard error, quiet unless asked.

mod outputs;
mod zap;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

pub use outputs::{Outputs, Rotation};
pub use zap::Zap;

/// Starts logging. `verbose` counts the `-v`; RUST_LOG wins over it.
pub fn start(verbose: u8) {
    let default = match verbose {
        0 => "warn,openraft=error",
        1 => "info,openraft=error",
        _ => "debug,h2=info,hyper=info,openraft=info,tonic=info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbose > 1)
        .init();
}

/// How a store logs.
pub struct StoreLog<'a> {
    /// debug, info, warn, error.
    pub level: &'a str,
    /// The form of a line.
    pub format: Zap,
    /// Where lines go.
    pub outputs: Outputs,
}

/// Starts logging as etcd does.
pub fn start_store(log: StoreLog<'_>) {
    let filter = format!("{},openraft=off,h2=warn,hyper=warn", log.level);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .event_format(log.format)
        .with_env_filter(filter)
        .with_writer(log.outputs)
        .try_init();
    // It is there already only in tests.
    let _is_first = started;
}
