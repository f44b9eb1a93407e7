//! A program that prints lines for as long as it runs, read without waiting for ever.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cluster::binary;
use crate::wait;

/// How long a line, or the end, may take.
const LIMIT: Duration = Duration::from_secs(40);

/// A running program; killed when dropped.
pub struct Printing {
    child: Child,
    name: String,
    lines: Receiver<String>,
    errors: Arc<Mutex<String>>,
}

impl Printing {
    /// Starts it.
    pub fn start(mut command: Command) -> Result<Self> {
        let name = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let out = BufReader::new(child.stdout.take().context("standard output")?);
        let err = BufReader::new(child.stderr.take().context("standard error")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = Arc::new(Mutex::new(String::new()));
        let written = errors.clone();
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
                written.push_str(&line);
                written.push('\n');
            }
        });
        Ok(Self { child, name, lines, errors })
    }

    /// `keelson watch` with these arguments.
    pub fn watch(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary());
        command.arg("watch").args(arguments);
        Self::start(command)
    }

    /// The next line.
    pub fn line(&mut self) -> Result<String> {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => Ok(line),
            Err(error) => {
                bail!(
                    "{}: no line ({error}), {:?}: {}",
                    self.name,
                    self.child.try_wait(),
                    self.errors()
                )
            }
        }
    }

    /// The next line, which is JSON.
    pub fn object(&mut self) -> Result<Value> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| line)
    }

    /// What is left, once it has ended.
    pub fn rest(&mut self) -> Vec<String> {
        self.lines.iter().collect()
    }

    /// All that was written to its standard error.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until its standard error has this.
    pub fn has_said(&self, words: &str) -> Result<()> {
        wait::until(words, LIMIT, || Ok(self.errors().contains(words).then_some(())))
            .with_context(|| self.errors())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Waits for its end; its exit code, -1 after a signal.
    pub fn ended(&mut self) -> Result<i32> {
        let status = wait::until("its end", LIMIT, || Ok(self.child.try_wait()?));
        let status = status.with_context(|| format!("{}: {}", self.name, self.errors()))?;
        Ok(status.code().unwrap_or(-1))
    }

    /// Has it end as Ctrl-C does, and waits until it has.
    pub fn interrupt(&mut self) -> Result<i32> {
        self.signal(Signal::SIGINT)?;
        self.ended()
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}
