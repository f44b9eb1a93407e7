//! The shim's one loop: callers, containers' streams, ended children.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::connection::{Connection, Role};
use super::container::{Container, Ends, kill, now, pipes};
use super::protocol::{
    CONTROL, ContainerRecord, ExecProcess, Frame, Reply, Request, STDIN, StartContainer, VERSION,
};
use super::{CONFIG_FILE, SOCKET_FILE, ShimConfig, create, exec, log, sandbox, worker};
use crate::sys::memory;
use crate::sys::process::{become_subreaper, ignore_signal};
use crate::sys::terminal;

/// More callers at once than this are turned away.
const CONNECTIONS_MAX: usize = 512;

/// The shim's state.
pub(super) struct Server {
    config: ShimConfig,
    listener: UnixListener,
    children: SignalFd,
    connections: BTreeMap<u64, Connection>,
    containers: BTreeMap<String, Container>,
    next_connection: u64,
    leaving: bool,
}

/// Why a shim cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("{step}: {error}")]
    Io { step: &'static str, error: io::Error },
    #[error("{CONFIG_FILE}: {0}")]
    Config(#[from] serde_json::Error),
}

fn step<T, E: Into<io::Error>>(step: &'static str, result: Result<T, E>) -> Result<T, StartError> {
    result.map_err(|error| StartError::Io { step, error: error.into() })
}

/// What there is to do after a wait.
enum Ready {
    Caller,
    Children,
    Read(u64),
    Write(u64),
    Output(String, u8),
    Input(String),
}

impl Server {
    /// Makes the sandbox of the folder `dir` and listens there.
    pub(super) fn start(dir: &Path) -> Result<Self, StartError> {
        // Relative names from here on: a socket's path may have only 108 bytes.
        step("folder", std::env::set_current_dir(dir))?;
        let text = step("configuration", std::fs::read(CONFIG_FILE))?;
        let config: ShimConfig = serde_json::from_slice(&text)?;
        step("detaching", sandbox::detach(&config))?;
        step("subreaper", become_subreaper())?;
        let children = step("signals", handle_signals())?;
        step("namespaces", sandbox::make_namespaces(&config))?;
        step("state folder", std::fs::create_dir_all(&config.state_dir))?;
        let _ = std::fs::remove_file(SOCKET_FILE);
        let listener = step("socket", UnixListener::bind(SOCKET_FILE))?;
        step("socket", listener.set_nonblocking(true))?;
        Ok(Self {
            config,
            listener,
            children,
            connections: BTreeMap::new(),
            containers: BTreeMap::new(),
            next_connection: 0,
            leaving: false,
        })
    }

    /// Serves until told to end.
    pub(super) fn run(mut self) -> i32 {
        memory::release();
        while !(self.leaving && self.connections.values().all(|one| !one.has_waiting())) {
            for ready in self.wait() {
                match ready {
                    Ready::Caller => self.accept(),
                    Ready::Children => self.reap(),
                    Ready::Read(id) => self.hear(id),
                    Ready::Write(id) => {
                        if let Some(connection) = self.connections.get_mut(&id) {
                            connection.flush();
                        }
                    }
                    Ready::Output(id, kind) => drop(self.pass_output(&id, kind)),
                    Ready::Input(id) => {
                        if let Some(container) = self.containers.get_mut(&id) {
                            container.write_input();
                        }
                    }
                }
            }
            self.drop_finished();
        }
        let _ = std::fs::remove_file(SOCKET_FILE);
        0
    }

    fn wait(&self) -> Vec<Ready> {
        let mut names = vec![Ready::Caller, Ready::Children];
        let mut fds = vec![
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        let mut add = |name, fd, flags| {
            names.push(name);
            fds.push(PollFd::new(fd, flags));
        };
        for (id, connection) in &self.connections {
            add(Ready::Read(*id), connection.fd(), PollFlags::POLLIN);
            if connection.has_waiting() {
                add(Ready::Write(*id), connection.fd(), PollFlags::POLLOUT);
            }
        }
        for (id, container) in &self.containers {
            for output in &container.outputs {
                let name = Ready::Output(id.clone(), output.kind);
                add(name, output.fd.as_fd(), PollFlags::POLLIN);
            }
            if let Some(fd) = container.wants_to_write() {
                add(Ready::Input(id.clone()), fd, PollFlags::POLLOUT);
            }
        }
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            return Vec::new(); // interrupted
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        names.into_iter().zip(ready).filter_map(|(name, ready)| ready.then_some(name)).collect()
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if self.connections.len() >= CONNECTIONS_MAX {
            return;
        }
        if let Ok(connection) = Connection::new(stream) {
            self.connections.insert(self.next_connection, connection);
            self.next_connection += 1;
        }
    }

    /// Reads from a caller and does what it says.
    fn hear(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        for frame in connection.read() {
            self.obey(id, &frame);
        }
    }

    fn obey(&mut self, id: u64, frame: &Frame) {
        match frame.kind {
            CONTROL => match serde_json::from_slice(&frame.payload) {
                Ok(request) => self.answer(id, request),
                Err(error) => self.refuse(id, &format!("request not understood: {error}")),
            },
            STDIN => {
                let Some(connection) = self.connections.get(&id) else { return };
                if let Role::Attached { id, stdin: true } = &connection.role
                    && let Some(container) = self.containers.get_mut(id)
                {
                    container.feed(&frame.payload);
                }
            }
            _ => self.refuse(id, "frame of unknown kind"),
        }
    }

    fn answer(&mut self, id: u64, request: Request) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.greeted && !matches!(request, Request::Hello { .. }) {
            return self.refuse(id, "hello comes first");
        }
        match request {
            Request::Hello { version } => self.hello(id, version),
            Request::Start(request) => {
                let reply = match self.start_container(request) {
                    Ok(record) => Reply::Container(record),
                    Err(message) => Reply::Error { message },
                };
                self.reply(id, &reply);
                memory::release();
            }
            Request::Kill { id: container, signal, all } => {
                let outcome = self.kill(&container, signal, all);
                self.outcome(id, outcome);
            }
            Request::Exec(request) => self.exec(id, &request),
            Request::Attach { id: container, stdin } => self.attach(id, container, stdin),
            Request::Resize { columns, rows } => {
                let outcome = self.resize(id, columns, rows);
                if let Err(message) = outcome {
                    self.refuse(id, &message);
                }
            }
            Request::ReopenLog { id: container } => {
                let outcome = self.reopen_log(&container);
                self.outcome(id, outcome);
            }
            Request::Subscribe => self.subscribe(id),
            Request::Forget { id: container } => {
                let outcome = self.forget(&container);
                self.outcome(id, outcome);
            }
            Request::Shutdown => self.shut_down(id),
        }
    }

    fn hello(&mut self, id: u64, version: u32) {
        if version != VERSION {
            return self
                .refuse(id, &format!("protocol version {version}; this shim has {VERSION}"));
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.greeted = true;
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        connection.reply(&Reply::Hello { version: VERSION, pid });
    }

    fn start_container(&mut self, request: StartContainer) -> Result<ContainerRecord, String> {
        if self.containers.contains_key(&request.id) {
            return Err(format!("container {} has been started before", request.id));
        }
        let text = |error: io::Error| error.to_string();
        let log = match &request.log_path {
            Some(path) => Some(
                log::Log::open(Path::new(path)).map_err(|error| format!("log {path}: {error}"))?,
            ),
            None => None,
        };
        let (stdio, ends) = if request.terminal {
            (None, Ends::default())
        } else {
            let (stdio, ends) = pipes(request.stdin).map_err(text)?;
            (Some(stdio), ends)
        };
        let started_at = now();
        let state_dir = self.config.state_dir.clone();
        let (report, console) = worker::run(|reporter| {
            create::create(&request, stdio, &state_dir, reporter);
        })
        .map_err(text)?;
        if let Some(error) = report.error {
            return Err(error);
        }
        let pid = report.pid.ok_or("the worker ended without a word")?;
        let id = request.id.clone();
        let container =
            Container::new(request, pid, started_at, ends, console, log).map_err(text)?;
        let record = container.record.clone();
        self.containers.insert(id, container);
        self.publish(&Reply::Container(record.clone()));
        Ok(record)
    }

    fn running(&mut self, id: &str) -> Result<&mut Container, String> {
        self.containers
            .get_mut(id)
            .filter(|container| container.runs())
            .ok_or_else(|| format!("container {id} is not running"))
    }

    fn kill(&mut self, id: &str, signal: i32, all: bool) -> Result<(), String> {
        let container = self.running(id)?;
        if all {
            container.signal_all(signal);
            return Ok(());
        }
        kill(container.record.pid, signal).map_err(|error| error.to_string())
    }

    fn exec(&mut self, id: u64, request: &ExecProcess) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let fds = std::mem::take(&mut connection.inbox.fds);
        match self.start_exec(request, fds) {
            Ok((pid, console)) => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                match &console {
                    Some(fd) => connection.reply_with_fd(&Reply::Started { pid }, fd),
                    None => connection.reply(&Reply::Started { pid }),
                }
                connection.role = Role::Exec { pid, console };
            }
            Err(message) => self.refuse(id, &message),
        }
    }

    fn start_exec(
        &mut self,
        request: &ExecProcess,
        fds: Vec<OwnedFd>,
    ) -> Result<(i32, Option<OwnedFd>), String> {
        let stdio = match (request.terminal, <[OwnedFd; 3]>::try_from(fds)) {
            (true, _) => None,
            (false, Ok(stdio)) => Some(stdio),
            (false, Err(_)) => return Err("exec without a terminal needs three streams".into()),
        };
        let container = self.running(&request.id)?;
        let init = container.record.pid;
        let (report, console) =
            worker::run(|reporter| exec::exec(request, &container.request, init, stdio, reporter))
                .map_err(|error| error.to_string())?;
        match (report.error, report.pid) {
            (Some(error), _) => Err(error),
            (None, Some(pid)) => Ok((pid, console)),
            (None, None) => Err("the worker ended without a word".to_owned()),
        }
    }

    fn attach(&mut self, id: u64, container: String, stdin: bool) {
        if let Err(message) = self.running(&container) {
            return self.refuse(id, &message);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.role = Role::Attached { id: container, stdin };
        connection.reply(&Reply::Attached);
    }

    fn resize(&mut self, id: u64, columns: u16, rows: u16) -> Result<(), String> {
        let console = match self.connections.get(&id).map(|connection| &connection.role) {
            Some(Role::Exec { console: Some(console), .. }) => console.as_fd(),
            Some(Role::Attached { id, .. }) => {
                let container = self.containers.get(id).and_then(|one| one.console.as_ref());
                container.ok_or("the container has no terminal")?.as_fd()
            }
            _ => return Err("this connection has no terminal".to_owned()),
        };
        terminal::resize(console, columns, rows).map_err(|error| error.to_string())
    }

    fn reopen_log(&mut self, id: &str) -> Result<(), String> {
        match &mut self.running(id)?.log {
            Some(log) => log.reopen().map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    fn subscribe(&mut self, id: u64) {
        let records: Vec<_> = self.containers.values().map(|one| one.record.clone()).collect();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.role = Role::Subscriber;
        for record in records {
            connection.reply(&Reply::Container(record));
        }
        connection.reply(&Reply::Synced);
    }

    fn forget(&mut self, id: &str) -> Result<(), String> {
        if self.containers.get(id).is_some_and(Container::runs) {
            return Err(format!("container {id} is running"));
        }
        self.containers.remove(id);
        let _ = std::fs::remove_dir_all(self.config.state_dir.join(id));
        Ok(())
    }

    fn shut_down(&mut self, id: u64) {
        for container in self.containers.values().filter(|container| container.runs()) {
            container.signal_all(libc::SIGKILL);
            let _ = kill(container.record.pid, libc::SIGKILL);
        }
        self.reply(id, &Reply::Ok);
        self.leaving = true;
    }

    fn outcome(&mut self, id: u64, outcome: Result<(), String>) {
        let reply = match outcome {
            Ok(()) => Reply::Ok,
            Err(message) => Reply::Error { message },
        };
        self.reply(id, &reply);
    }

    fn refuse(&mut self, id: u64, message: &str) {
        self.reply(id, &Reply::Error { message: message.to_owned() });
    }

    fn reply(&mut self, id: u64, reply: &Reply) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.reply(reply);
        }
    }

    fn publish(&mut self, news: &Reply) {
        for connection in self.connections.values_mut() {
            if matches!(connection.role, Role::Subscriber) {
                connection.reply(news);
            }
        }
    }

    /// Reads one output once and hands it to the log and to attached callers.
    fn pass_output(&mut self, id: &str, kind: u8) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        let Some(index) = container.outputs.iter().position(|output| output.kind == kind) else {
            return false;
        };
        let Some(bytes) = container.read_output(index).filter(|bytes| !bytes.is_empty()) else {
            return false;
        };
        for connection in self.connections.values_mut() {
            if matches!(&connection.role, Role::Attached { id: other, .. } if other == id) {
                connection.stream_bytes(kind, &bytes);
            }
        }
        true
    }

    /// Collects every child that has ended.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            let (pid, exit_code) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let container = self
                .containers
                .values()
                .find(|container| container.runs() && container.record.pid == pid)
                .map(|container| container.record.id.clone());
            match container {
                Some(id) => self.container_ended(&id, exit_code),
                None => self.exec_ended(pid, exit_code),
            }
        }
    }

    fn container_ended(&mut self, id: &str, exit_code: i32) {
        if let Some(container) = self.containers.get(id)
            && container.request.shares_pids
        {
            container.signal_all(libc::SIGKILL);
        }
        // Everything that its processes wrote is in the pipes by now.
        for kind in [super::protocol::STDOUT, super::protocol::STDERR] {
            while self.pass_output(id, kind) {}
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        container.end(exit_code);
        let record = container.record.clone();
        for connection in self.connections.values_mut() {
            if matches!(&connection.role, Role::Attached { id: other, .. } if other == id) {
                connection.reply(&Reply::Exited { exit_code });
                connection.ending = true;
            }
        }
        self.publish(&Reply::Container(record));
        memory::release();
    }

    fn exec_ended(&mut self, ended: i32, exit_code: i32) {
        for connection in self.connections.values_mut() {
            if let Role::Exec { pid, console } = &mut connection.role
                && *pid == ended
            {
                *pid = 0;
                *console = None;
                connection.reply(&Reply::Exited { exit_code });
                connection.ending = true;
            }
        }
        memory::release();
    }

    /// Lets go of callers that are gone, and of what was only theirs.
    fn drop_finished(&mut self) {
        let gone: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.done())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let Some(connection) = self.connections.remove(&id) else { continue };
            match connection.role {
                // It leads a group: what it has started goes, too.
                Role::Exec { pid, .. } if pid > 0 => drop(kill(-pid, libc::SIGKILL)),
                Role::Attached { id, stdin: true } => {
                    if let Some(container) = self.containers.get_mut(&id)
                        && container.request.stdin_once
                    {
                        container.feed(b"");
                    }
                }
                Role::Exec { .. } | Role::Attached { .. } | Role::Control | Role::Subscriber => {}
            }
        }
    }
}

fn handle_signals() -> io::Result<SignalFd> {
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE] {
        ignore_signal(ignored)?;
    }
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&children), None)?;
    Ok(SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}
