//! The command that is run for a line: with it as input, for a limited time, one after the other.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::ended::Ended;
use super::options::{OnFailure, Options};

/// Between two tries; doubles up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What to run, and what to do when it fails.
#[derive(Debug, Clone)]
pub struct Runner {
    script: String,
    limit: Duration,
    retries: u32,
    on_failure: OnFailure,
}

/// How one run went wrong.
enum Failure {
    Bad(String),
    /// It was told to end at once.
    Cut,
}

impl Runner {
    /// By what the command line says, if it names a command.
    pub fn new(options: &Options) -> Option<Self> {
        Some(Self {
            script: options.exec.clone()?,
            limit: options.exec_timeout,
            retries: options.retries,
            on_failure: options.on_failure,
        })
    }

    /// Runs it until it ends well, or has failed as often as it may. `false`: cut off by `now`.
    pub async fn run(
        &self,
        line: &Map<String, Value>,
        stop: &CancellationToken,
        now: &CancellationToken,
    ) -> Result<bool, Ended> {
        let mut pause = PAUSE.0;
        let mut left = self.retries;
        loop {
            let outcome = match self.once(line, now).await {
                Ok(()) => return Ok(true),
                Err(Failure::Cut) => return Ok(false),
                Err(Failure::Bad(outcome)) => outcome,
            };
            let what = what(line);
            if left == 0 {
                return match self.on_failure {
                    OnFailure::Stop => Err(Ended::Command { what, outcome }),
                    OnFailure::Skip => {
                        eprintln!("keelson watch: {what}: the command {outcome}; skipped");
                        Ok(true)
                    }
                };
            }
            left -= 1;
            eprintln!("keelson watch: {what}: the command {outcome}; {left} more tries after this");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return Ok(false),
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn once(
        &self,
        line: &Map<String, Value>,
        now: &CancellationToken,
    ) -> Result<(), Failure> {
        let bad = |error: std::io::Error| Failure::Bad(format!("cannot be run: {error}"));
        let mut child = self.command(line).spawn().map_err(bad)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let mut text = Value::Object(line.clone()).to_string();
        text.push('\n');
        let outcome = tokio::select! {
            status = fed(&mut child, text) => Some(status),
            () = tokio::time::sleep(self.limit) => None,
            () = now.cancelled() => {
                end(group);
                return Err(Failure::Cut);
            }
        };
        match outcome {
            Some(Ok(status)) if status.success() => Ok(()),
            Some(Ok(status)) => Err(Failure::Bad(format!("ended with {status}"))),
            Some(Err(error)) => Err(bad(error)),
            None => {
                end(group);
                let seconds = self.limit.as_secs_f64();
                Err(Failure::Bad(format!("still ran after {seconds} s and was killed")))
            }
        }
    }

    fn command(&self, line: &Map<String, Value>) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.script).stdin(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C is for the watch, which lets the command finish.
        command.process_group(0);
        for (variable, name) in [("KEELSON_TYPE", "type"), ("KEELSON_KEY", "key")] {
            let text = line.get(name).and_then(Value::as_str).unwrap_or_default();
            // No variable can hold the null character.
            command.env(variable, text.split('\0').next().unwrap_or_default());
        }
        let revision = line.get("mod_revision").or_else(|| line.get("revision"));
        command.env("KEELSON_REVISION", revision.map(Value::to_string).unwrap_or_default());
        command
    }
}

/// Its end; it need not read what it is given.
async fn fed(child: &mut Child, text: String) -> std::io::Result<ExitStatus> {
    let stdin = child.stdin.take();
    let write = async move {
        if let Some(mut stdin) = stdin {
            let _closed_early = stdin.write_all(text.as_bytes()).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        status = child.wait() => status,
        () = write => unreachable!("it is pending for ever"),
    }
}

/// It, and all that it has started.
fn end(group: Option<Pid>) {
    if let Some(group) = group {
        let _gone_already = killpg(group, Signal::SIGKILL);
    }
}

fn what(line: &Map<String, Value>) -> String {
    let text = |name: &str| line.get(name).map(Value::to_string).unwrap_or_default();
    let key = if line.contains_key("key") { text("key") } else { text("key_base64") };
    let revision = line.get("mod_revision").or_else(|| line.get("revision"));
    let kind = line.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("{kind} {key} at revision {}", revision.map(Value::to_string).unwrap_or_default())
}
