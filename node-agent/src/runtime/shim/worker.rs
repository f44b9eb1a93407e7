//! A forked child that does one thing and reports back.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::{Inbox, control};
use crate::sys::fds;
use crate::sys::process::{Forked, exit_now, fork, restore_defaults};

/// How long one piece of work may take before its worker is killed.
const WORK_MAX: Duration = Duration::from_secs(60);

/// What a worker found out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// The process that it started, if it did.
    #[serde(default)]
    pub(super) pid: Option<i32>,
    /// What went wrong.
    #[serde(default)]
    pub(super) error: Option<String>,
}

/// The worker's end of the report.
#[derive(Debug)]
pub(super) struct Reporter(UnixStream);

impl Reporter {
    /// Sends a report, with at most one descriptor.
    pub(super) fn send(&mut self, report: &Report, fd: Option<&OwnedFd>) {
        let bytes = control(report);
        let sent = match fd {
            Some(fd) => fds::send(self.0.as_fd(), &bytes, &[fd.as_raw_fd()]).unwrap_or(0),
            None => 0,
        };
        // A shim that no longer listens has given this worker up.
        let _ = self.0.write_all(&bytes[sent..]);
    }

    /// Sends that the work failed.
    pub(super) fn fail(&mut self, error: &dyn std::fmt::Display) {
        self.send(&Report { pid: None, error: Some(error.to_string()) }, None);
    }
}

/// Runs `work` in a child. The last report of each kind counts: a process id, an error; and the
/// descriptor that came with it. The report ends when no process holds its other end any more, so
/// a descendant that executes a program without an error report has succeeded.
pub(super) fn run(work: impl FnOnce(&mut Reporter)) -> io::Result<(Report, Option<OwnedFd>)> {
    let (mut mine, theirs) = UnixStream::pair()?;
    match fork()? {
        Forked::Child => {
            drop(mine);
            let mut reporter = Reporter(theirs);
            // What runs in containers must not inherit what is only the shim's.
            let _ = restore_defaults();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                work(&mut reporter);
            }));
            if done.is_err() {
                reporter.fail(&"the worker panicked");
            }
            exit_now(0)
        }
        Forked::Parent(pid) => {
            drop(theirs);
            mine.set_read_timeout(Some(WORK_MAX))?;
            let outcome = collect(&mut mine);
            if outcome.is_err() {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            // The worker's own exit says nothing; it must only not stay a zombie.
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            outcome
        }
    }
}

fn collect(from: &mut UnixStream) -> io::Result<(Report, Option<OwnedFd>)> {
    let mut inbox = Inbox::default();
    let mut report = Report::default();
    let mut buffer = [0; 4096];
    loop {
        let length = match fds::receive(from.as_fd(), &mut buffer, &mut inbox.fds) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the worker took too long"));
            }
            Err(error) => return Err(error),
        };
        inbox.push(&buffer[..length]);
        while let Some(frame) = inbox.next_frame().map_err(io::Error::other)? {
            let part: Report = serde_json::from_slice(&frame.payload)?;
            report.pid = part.pid.or(report.pid);
            report.error = part.error.or(report.error);
        }
    }
    Ok((report, inbox.fds.pop()))
}

/// Reads a small file that another process wrote into, until its end.
pub(super) fn read_all(mut from: impl Read) -> String {
    let mut text = String::new();
    // What could be read is better than nothing.
    let _ = from.read_to_string(&mut text);
    text
}
