//! Commands run in containers, from the runtime's side.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keelson_proto::cri;
use nix::fcntl::OFlag;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;

use super::client::{FrameReader, FrameWriter, blocking};
use super::embedded::Inner;
use super::error::{During, RuntimeError};
use super::model::Container;
use super::shim::protocol::ExecProcess;

/// Output of a command beyond this is cut off.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// How long output is waited for once the command has ended: what it left in the background may
/// hold its streams for ever.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// A command that runs. Dropping it kills the command.
pub(super) struct Exec {
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: Option<pipe::Receiver>,
    pub(super) stderr: Option<pipe::Receiver>,
    pub(super) console: Option<Console>,
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
}

/// A terminal's master.
#[derive(Clone)]
pub(super) struct Console(Arc<AsyncFd<OwnedFd>>);

impl Console {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        use nix::fcntl::{FcntlArg, fcntl};
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self(Arc::new(crate::sys::terminal::watch(fd)?)))
    }

    /// Reads; 0 once the last user of the terminal has gone.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| Ok(nix::unistd::read(fd.get_ref(), buffer)?)) {
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                Ok(outcome) => return outcome,
                Err(_not_ready) => {}
            }
        }
    }

    /// Writes everything.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), bytes)?)) {
                Ok(outcome) => bytes = &bytes[outcome?..],
                Err(_not_ready) => {}
            }
        }
        Ok(())
    }
}

impl Inner {
    pub(super) fn running_container(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        let container = self.known_container(id)?;
        if !container.state.borrow().runs() {
            return Err(RuntimeError::NotRunning(container.id.clone()));
        }
        Ok(container)
    }

    /// Starts a command in a container.
    pub(super) async fn open_exec(
        &self,
        id: &str,
        args: Vec<String>,
        terminal: bool,
        with_stdin: bool,
    ) -> Result<Exec, RuntimeError> {
        let container = self.running_container(id)?;
        let sandbox_id = container.record.lock().sandbox_id.clone();
        let sandbox = self.model.sandbox(&sandbox_id).ok_or(RuntimeError::NoSandbox(sandbox_id))?;
        let process = ExecProcess { id: container.id.clone(), args, terminal };
        let (stdio, ends) = match terminal {
            true => (None, (None, None, None)),
            false => {
                let (stdio, ends) = pipes(with_stdin).during("exec streams")?;
                (Some(stdio), ends)
            }
        };
        let client = sandbox.shim.clone();
        let mut started = blocking(move || client.exec(process, stdio)).await?;
        let console = match started.console.take() {
            Some(fd) => Some(Console::new(fd).during("terminal")?),
            None => None,
        };
        let (reader, writer) = started.into_async().during("shim connection")?;
        let (stdin, stdout, stderr) = ends;
        Ok(Exec { stdin, stdout, stderr, console, reader, writer })
    }

    /// Runs a command to its end.
    pub(super) async fn exec_sync(
        &self,
        request: cri::ExecSyncRequest,
    ) -> Result<cri::ExecSyncResponse, RuntimeError> {
        let mut exec = self.open_exec(&request.container_id, request.cmd, false, false).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let run = async {
            let output = async {
                tokio::join!(
                    collect(exec.stdout.take(), &mut stdout),
                    collect(exec.stderr.take(), &mut stderr)
                )
            };
            let ended = exec.reader.exit_code();
            tokio::pin!(output, ended);
            tokio::select! {
                code = &mut ended => {
                    let _ = tokio::time::timeout(DRAIN_MAX, output).await;
                    code
                }
                _ = &mut output => ended.await,
            }
        };
        let outcome = match request.timeout {
            ..=0 => run.await,
            seconds => {
                let limit = Duration::from_secs(seconds.unsigned_abs());
                let outcome = tokio::time::timeout(limit, run).await;
                outcome.map_err(|_| RuntimeError::Timeout(seconds))?
            }
        };
        let exit_code = outcome?;
        Ok(cri::ExecSyncResponse {
            stdout: Bytes::from(stdout),
            stderr: Bytes::from(stderr),
            exit_code,
        })
    }
}

type Ends = (Option<pipe::Sender>, Option<pipe::Receiver>, Option<pipe::Receiver>);

fn pipes(with_stdin: bool) -> io::Result<([OwnedFd; 3], Ends)> {
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC);
    let (out_from, out_to) = pipe()?;
    let (err_from, err_to) = pipe()?;
    let (stdin, feed) = if with_stdin {
        let (from, to) = pipe()?;
        (from, Some(pipe::Sender::from_owned_fd(to)?))
    } else {
        (File::open("/dev/null")?.into(), None)
    };
    let stdout = pipe::Receiver::from_owned_fd(out_from)?;
    let stderr = pipe::Receiver::from_owned_fd(err_from)?;
    Ok(([stdin, out_to, err_to], (feed, Some(stdout), Some(stderr))))
}

async fn collect(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX - into.len();
        into.extend_from_slice(&buffer[..length.min(room)]);
    }
}
