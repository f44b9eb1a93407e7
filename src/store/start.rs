//! From arguments to a running member, or to the words and the exit code that etcd has instead.

use std::process::ExitCode;

use super::config::Config;
use super::flags::{Note, gather};
use super::member;
use crate::cli::end_now;
use crate::logging::{self, Outputs, StoreLog, Zap};
use crate::tls;

/// Runs a member with etcd's flags until it is told to end.
pub fn run(arguments: &[String]) -> ExitCode {
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    #[cfg(feature = "failpoints")]
    if let Err(ended) = super::failpoints::start(&variables) {
        return ended;
    }
    let (settings, notes, wrong) = match gather(arguments, &variables) {
        Ok(gathered) => gathered,
        Err(ended) => {
            print!("{}", ended.out);
            eprint!("{}", ended.err);
            return ExitCode::from(ended.code);
        }
    };
    let config = Config(settings);
    let wrong = wrong.map_or_else(|| config.check(), Err).and_then(|()| {
        let log = config.log().map_err(|error| format!("{error:#}"))?;
        logging::start_store(log);
        Ok(())
    });
    if let Err(wrong) = wrong {
        log_anyhow(arguments, &notes);
        tracing::warn!(error = wrong, "failed to verify flags");
        return ExitCode::FAILURE;
    }
    say(arguments, &notes);
    config.warn();
    tls::install_provider();
    match member::run(&config) {
        Ok(code) => end_now(code.into()),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "failed to start etcd");
            ExitCode::FAILURE
        }
    }
}

/// Where the flags say where to log, but are wrong.
fn log_anyhow(arguments: &[String], notes: &[Note]) {
    if let Ok(outputs) = Outputs::open(&["stderr".to_owned()], None) {
        logging::start_store(StoreLog { level: "info", format: Zap::Json, outputs });
    }
    say(arguments, notes);
}

fn say(arguments: &[String], notes: &[Note]) {
    tracing::info!(args = arguments.join(" "), "Running: ");
    for Note { warns, message, field } in notes {
        let shown = field.as_ref().map(|(name, value)| format!("{name}={value}"));
        let shown = shown.unwrap_or_default();
        match warns {
            true => tracing::warn!(detail = shown, "{message}"),
            false => tracing::info!(detail = shown, "{message}"),
        }
    }
}
