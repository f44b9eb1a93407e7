//! Speaks to shims.
//!
//! A call is one connection: connect, hello, request, reply. The calls block, for milliseconds, and
//! run where that is allowed; what streams afterwards is turned over to the async side.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::shim::SOCKET_FILE;
use super::shim::protocol::{
    self, CONTROL, ExecProcess, Frame, FrameError, Inbox, Reply, Request, VERSION, control,
};
use crate::sys::fds;

/// A shim that does not answer within this is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(90);

/// Why a call to a shim failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShimError {
    /// Nobody answers.
    #[error("shim does not answer: {0}")]
    Gone(#[from] io::Error),
    /// It answered something else.
    #[error("shim answers strangely: {0}")]
    Frame(#[from] FrameError),
    /// It answered something that makes no sense here.
    #[error("shim answers strangely: {0:?}")]
    Unexpected(Box<Reply>),
    /// It could not do it.
    #[error("{0}")]
    Refused(String),
}

/// The way to one sandbox's shim.
#[derive(Debug, Clone)]
pub(super) struct ShimClient {
    dir: PathBuf,
}

/// One more process that runs: dropping its channel kills it.
#[derive(Debug)]
pub(super) struct Started {
    /// The terminal's master, if it has one.
    pub(super) console: Option<OwnedFd>,
    channel: Channel,
}

impl ShimClient {
    pub(super) fn new(sandbox_dir: PathBuf) -> Self {
        Self { dir: sandbox_dir }
    }

    /// Connects and says hello. Blocks.
    fn connect(&self) -> Result<Channel, ShimError> {
        // A socket's path may have only 108 bytes; this way it is short wherever the folder is.
        let dir = File::open(&self.dir)?;
        let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", dir.as_raw_fd());
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        let mut channel = Channel { stream, inbox: Inbox::default() };
        match channel.ask(&Request::Hello { version: VERSION }, &[])? {
            Reply::Hello { .. } => Ok(channel),
            other => Err(ShimError::Unexpected(Box::new(other))),
        }
    }

    /// Asks for one thing. Blocks.
    pub(super) fn call(&self, request: &Request) -> Result<Reply, ShimError> {
        self.connect()?.ask(request, &[])
    }

    /// Asks for one thing, off the async threads.
    pub(super) async fn ask(&self, request: Request) -> Result<Reply, ShimError> {
        let client = self.clone();
        blocking(move || client.call(&request)).await
    }

    /// Ends the shim and waits until it has gone. Blocks.
    pub(super) fn shut_down(&self) -> Result<(), ShimError> {
        let mut channel = self.connect()?;
        channel.ask(&Request::Shutdown, &[])?;
        // The end of the stream is the end of the process.
        while channel.next()?.is_some() {}
        Ok(())
    }

    /// Hears of every exit from now on; the containers there are come first. Blocks.
    pub(super) fn subscribe(&self) -> Result<(Vec<protocol::ContainerRecord>, Channel), ShimError> {
        let mut channel = self.connect()?;
        channel.send(&Request::Subscribe, &[])?;
        let mut records = Vec::new();
        loop {
            match channel.reply()? {
                Reply::Container(record) => records.push(record),
                Reply::Synced => return Ok((records, channel)),
                other => return Err(ShimError::Unexpected(Box::new(other))),
            }
        }
    }

    /// Starts one more process; its streams are `stdio`, or a terminal. Blocks.
    pub(super) fn exec(
        &self,
        process: ExecProcess,
        stdio: Option<[OwnedFd; 3]>,
    ) -> Result<Started, ShimError> {
        let mut channel = self.connect()?;
        let fds: Vec<i32> = stdio.iter().flatten().map(AsRawFd::as_raw_fd).collect();
        match channel.ask(&Request::Exec(process), &fds)? {
            Reply::Started { .. } => {
                let console = channel.inbox.fds.pop();
                Ok(Started { console, channel })
            }
            other => Err(ShimError::Unexpected(Box::new(other))),
        }
    }

    /// Joins a container's streams. Blocks.
    pub(super) fn attach(&self, id: String, stdin: bool) -> Result<Channel, ShimError> {
        let mut channel = self.connect()?;
        match channel.ask(&Request::Attach { id, stdin }, &[])? {
            Reply::Attached => Ok(channel),
            other => Err(ShimError::Unexpected(Box::new(other))),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Started {
    /// For the async side.
    pub(super) fn into_async(self) -> io::Result<(FrameReader, FrameWriter)> {
        self.channel.into_async()
    }
}

/// Runs what blocks off the async threads.
pub(super) async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(io::Error::other(error).into()),
    }
}

/// A connection to a shim, blocking.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    inbox: Inbox,
}

impl Channel {
    fn send(&mut self, request: &Request, fds: &[i32]) -> Result<(), ShimError> {
        let bytes = control(request);
        let sent = fds::send(self.stream.as_fd(), &bytes, fds)?;
        self.stream.write_all(&bytes[sent..])?;
        Ok(())
    }

    fn ask(&mut self, request: &Request, fds: &[i32]) -> Result<Reply, ShimError> {
        self.send(request, fds)?;
        match self.reply()? {
            Reply::Error { message } => Err(ShimError::Refused(message)),
            reply => Ok(reply),
        }
    }

    fn reply(&mut self) -> Result<Reply, ShimError> {
        match self.next()? {
            Some(frame) => Ok(serde_json::from_slice(&frame.payload).map_err(FrameError::from)?),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    fn next(&mut self) -> Result<Option<Frame>, ShimError> {
        let mut buffer = [0; 8192];
        loop {
            if let Some(frame) = self.inbox.next_frame()? {
                return Ok(Some(frame));
            }
            match fds::receive(self.stream.as_fd(), &mut buffer, &mut self.inbox.fds) {
                Ok(0) => return Ok(None),
                Ok(length) => self.inbox.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A shim that ends while there is something unread resets the connection.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Turns the connection over to the async side.
    pub(super) fn into_async(self) -> io::Result<(FrameReader, FrameWriter)> {
        self.stream.set_read_timeout(None)?;
        self.stream.set_write_timeout(None)?;
        self.stream.set_nonblocking(true)?;
        let (read, write) = tokio::net::UnixStream::from_std(self.stream)?.into_split();
        Ok((FrameReader { stream: read, inbox: self.inbox }, FrameWriter { stream: write }))
    }
}

/// What a shim sends.
#[derive(Debug)]
pub(super) struct FrameReader {
    stream: OwnedReadHalf,
    inbox: Inbox,
}

impl FrameReader {
    /// The next frame; none at the end. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, ShimError> {
        let mut buffer = [0; 8192];
        loop {
            if let Some(frame) = self.inbox.next_frame()? {
                return Ok(Some(frame));
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Ok(None),
                Ok(length) => self.inbox.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the end of the process that the connection belongs to.
    pub(super) async fn exit_code(&mut self) -> Result<i32, ShimError> {
        while let Some(frame) = self.next().await? {
            if frame.kind == CONTROL
                && let Reply::Exited { exit_code } =
                    serde_json::from_slice(&frame.payload).map_err(FrameError::from)?
            {
                return Ok(exit_code);
            }
        }
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }
}

/// What a shim is sent.
#[derive(Debug)]
pub(super) struct FrameWriter {
    stream: OwnedWriteHalf,
}

impl FrameWriter {
    /// Sends a request on a connection that streams; its reply comes as a frame, if any.
    pub(super) async fn request(&mut self, request: &Request) -> io::Result<()> {
        self.stream.write_all(&control(request)).await
    }

    /// Sends bytes of a stream.
    pub(super) async fn bytes(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(&protocol::frame(kind, bytes)).await
    }
}
