//! A running container as the shim sees it: its streams, its log, its end.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::create::Stdio;
use super::log::{Log, Pending};
use super::protocol::{ContainerRecord, Exit, STDERR, STDOUT, StartContainer};

/// Input that a container does not read is kept up to this.
pub(super) const STDIN_BYTES_MAX: usize = 1 << 20;

/// One container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) request: StartContainer,
    pub(super) record: ContainerRecord,
    pub(super) outputs: Vec<Output>,
    pub(super) log: Option<Log>,
    /// The terminal's master, for its size and for input.
    pub(super) console: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    queue: VecDeque<u8>,
    /// Input is to end once the queue is empty.
    ending: bool,
}

/// A stream that comes out of a container.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) fd: OwnedFd,
    pub(super) kind: u8,
    pending: Pending,
}

/// The shim's ends of a container's streams.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) outputs: Vec<(OwnedFd, u8)>,
}

/// Pipes for a container without a terminal: the container's ends and the shim's.
pub(super) fn pipes(with_stdin: bool) -> io::Result<(Stdio, Ends)> {
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from);
    let (out_from, out_to) = pipe()?;
    let (err_from, err_to) = pipe()?;
    let (stdin, feed) = if with_stdin {
        let (from, to) = pipe()?;
        (from, Some(to))
    } else {
        (fs::File::open("/dev/null")?.into(), None)
    };
    let ends = Ends { stdin: feed, outputs: vec![(out_from, STDOUT), (err_from, STDERR)] };
    Ok(([stdin, out_to, err_to], ends))
}

impl Container {
    pub(super) fn new(
        request: StartContainer,
        pid: i32,
        started_at: i64,
        ends: Ends,
        console: Option<OwnedFd>,
        log: Option<Log>,
    ) -> io::Result<Self> {
        let mut outputs = Vec::new();
        let mut stdin = ends.stdin;
        for (fd, kind) in ends.outputs {
            outputs.push(Output { fd, kind, pending: Pending::default() });
        }
        if let Some(console) = &console {
            outputs.push(Output {
                fd: console.try_clone()?,
                kind: STDOUT,
                pending: Pending::default(),
            });
            if request.stdin {
                stdin = Some(console.try_clone()?);
            }
        }
        for fd in outputs.iter().map(|output| &output.fd).chain(&stdin) {
            never_block(fd.as_fd())?;
        }
        let record = ContainerRecord { id: request.id.clone(), pid, started_at, exit: None };
        Ok(Self {
            request,
            record,
            outputs,
            log,
            console,
            stdin,
            queue: VecDeque::new(),
            ending: false,
        })
    }

    pub(super) fn runs(&self) -> bool {
        self.record.exit.is_none()
    }

    /// Takes input for the container; what exceeds the limit is dropped, as for a terminal.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.ending = true;
        } else if self.queue.len() + bytes.len() <= STDIN_BYTES_MAX {
            self.queue.extend(bytes);
        }
        self.write_input();
    }

    /// The descriptor to wait for, if input waits.
    pub(super) fn wants_to_write(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().filter(|_| !self.queue.is_empty()).map(|fd| fd.as_fd())
    }

    /// Writes what the container takes now.
    pub(super) fn write_input(&mut self) {
        while let Some(fd) = self.stdin.as_ref().filter(|_| !self.queue.is_empty()) {
            match nix::unistd::write(fd, self.queue.as_slices().0) {
                Ok(length) => drop(self.queue.drain(..length)),
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(_) => {
                    self.stdin = None;
                    self.queue.clear();
                }
            }
        }
        if self.ending {
            match &self.console {
                // A terminal's input ends by its own end-of-file character.
                Some(_) => self.ending = false,
                None => self.stdin = None,
            }
        }
    }

    /// Reads what output `index` has now and logs it; `None` once it has ended.
    pub(super) fn read_output(&mut self, index: usize) -> Option<Vec<u8>> {
        let output = &mut self.outputs[index];
        let mut buffer = [0; 8192];
        let length = match nix::unistd::read(&output.fd, &mut buffer) {
            Ok(length) => length,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Some(Vec::new()),
            Err(_) => 0, // a terminal whose last user is gone answers EIO
        };
        let stream = if output.kind == STDERR { "stderr" } else { "stdout" };
        if let Some(log) = &mut self.log {
            // A full disk must not stop the container: the lines are lost, as with other runtimes.
            let _ = match length {
                0 => log.finish(stream, &mut output.pending),
                _ => log.write(stream, &mut output.pending, &buffer[..length]),
            };
        }
        if length == 0 {
            self.outputs.remove(index);
            return None;
        }
        Some(buffer[..length].to_vec())
    }

    /// Records the end, on disk first.
    pub(super) fn end(&mut self, exit_code: i32) {
        let exit = Exit { exit_code, finished_at: now(), oom_killed: self.oom_killed() };
        self.record.exit = Some(exit);
        self.stdin = None;
        self.console = None;
        self.queue.clear();
        // Should the disk be full, the runtime still hears of the exit over the socket.
        let _ = write_record(Path::new(&self.request.exit_file), &self.record);
    }

    /// Kills whatever is in the container's cgroup.
    pub(super) fn signal_all(&self, signal: i32) {
        for folder in &self.request.cgroups {
            let Ok(pids) = fs::read_to_string(Path::new(folder).join("cgroup.procs")) else {
                continue;
            };
            for pid in pids.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
                let _ = kill(pid, signal);
            }
        }
    }

    fn oom_killed(&self) -> bool {
        let counts = |file: &str| {
            fs::read_to_string(file).is_ok_and(|text| {
                text.lines().any(|line| {
                    line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0")
                })
            })
        };
        self.request.cgroups.iter().any(|folder| {
            counts(&format!("{folder}/memory.events"))
                || counts(&format!("{folder}/memory.oom_control"))
        })
    }
}

/// Sends a signal by its number; real-time signals have no name to send them by.
pub(super) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    crate::sys::process::kill(pid, signal)
}

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn never_block(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

fn write_record(path: &Path, record: &ContainerRecord) -> io::Result<()> {
    let fresh = path.with_extension("tmp");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    fs::rename(fresh, path)
}
