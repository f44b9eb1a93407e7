//! Where log lines go: standard error, quiet unless asked.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

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

/// Starts logging as etcd does: one JSON object a line.
pub fn start_json(level: &str) {
    let filter = EnvFilter::try_new(format!("{level},openraft=error,h2=warn,hyper=warn"))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
