//! Makes a container by libcontainer and starts it. Runs in a worker.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use super::payload::Payload;
use super::protocol::StartContainer;
use super::worker::{Report, Reporter, read_all};
use crate::sys::fds;

/// The container's three streams, for one without a terminal.
pub(super) type Stdio = [OwnedFd; 3];

const CONSOLE_SOCKET: &str = "console.sock";

/// Creates and starts; reports the first process and, with it, the terminal's master.
pub(super) fn create(
    request: &StartContainer,
    stdio: Option<Stdio>,
    state_dir: &Path,
    reporter: &mut Reporter,
) {
    match start(request, stdio, state_dir) {
        Ok((pid, console)) => {
            reporter.send(&Report { pid: Some(pid), error: None }, console.as_ref());
        }
        Err(error) => reporter.fail(&error),
    }
}

#[derive(Debug, thiserror::Error)]
enum CreateError {
    #[error("{}", root_cause(.0))]
    Create(#[from] libcontainer::error::LibcontainerError),
    #[error("{0}")]
    Exec(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("container has no process")]
    NoProcess,
}

fn start(
    request: &StartContainer,
    stdio: Option<Stdio>,
    state_dir: &Path,
) -> Result<(i32, Option<OwnedFd>), CreateError> {
    // What a shim that died in the middle left behind.
    let leftover = state_dir.join(&request.id);
    if leftover.exists() {
        fs::remove_dir_all(&leftover)?;
    }
    let (report_from, report_to) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(std::io::Error::from)?;
    let mut builder = ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .with_root_path(state_dir)?
        .with_executor(Payload::new(report_to))
        .validate_id()?;
    let mut console = None;
    if let Some([stdin, stdout, stderr]) = stdio {
        builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
    } else {
        // Relative, since a socket's path may have only 108 bytes: libcontainer links to it.
        std::env::set_current_dir(&request.bundle)?;
        let _ = fs::remove_file(CONSOLE_SOCKET);
        console = Some(UnixListener::bind(CONSOLE_SOCKET)?);
        let path = Path::new(&request.bundle).join(CONSOLE_SOCKET);
        builder = builder.with_console_socket(Some(path));
    }
    let mut container =
        builder.as_init(&request.bundle).with_systemd(false).with_detach(true).build()?;
    let pid = container.pid().ok_or(CreateError::NoProcess)?.as_raw();
    let master = match console {
        Some(listener) => Some(receive_console(&listener)?),
        None => None,
    };
    container.start()?;
    let complaint = read_all(std::fs::File::from(report_from));
    if !complaint.is_empty() {
        return Err(CreateError::Exec(complaint));
    }
    Ok((pid, master))
}

fn receive_console(listener: &UnixListener) -> std::io::Result<OwnedFd> {
    let (stream, _) = listener.accept()?;
    let (mut buffer, mut fds) = ([0; 256], Vec::new());
    fds::receive(stream.as_fd(), &mut buffer, &mut fds)?;
    let _ = fs::remove_file(CONSOLE_SOCKET);
    fds.pop().ok_or_else(|| std::io::Error::other("no terminal came over the console socket"))
}

/// The innermost error: what libcontainer puts around it names its own steps only.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let outer = error.to_string();
    let inner = cause.to_string();
    if outer.contains(&inner) { outer } else { inner }
}
