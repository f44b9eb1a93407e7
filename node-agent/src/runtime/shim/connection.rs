//! One caller of the shim.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::protocol::{Frame, Inbox, Reply, control, frame};
use crate::sys::fds;

/// A caller that does not read is left behind once this much waits for it.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// What a connection has become.
#[derive(Debug)]
pub(super) enum Role {
    /// Requests and replies.
    Control,
    /// Hears of every exit.
    Subscriber,
    /// Sees a container's output.
    Attached {
        /// The container.
        id: String,
        /// Gives it input, too.
        stdin: bool,
    },
    /// Belongs to one process.
    Exec {
        /// That process.
        pid: i32,
        /// Its terminal.
        console: Option<OwnedFd>,
    },
}

/// One caller.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    pub(super) inbox: Inbox,
    waiting: VecDeque<u8>,
    pub(super) role: Role,
    pub(super) greeted: bool,
    /// To be closed once everything is sent.
    pub(super) ending: bool,
    /// Gone, or too slow.
    pub(super) broken: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            inbox: Inbox::default(),
            waiting: VecDeque::new(),
            role: Role::Control,
            greeted: false,
            ending: false,
            broken: false,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether this connection can be dropped.
    pub(super) fn done(&self) -> bool {
        self.broken || (self.ending && self.waiting.is_empty())
    }

    /// Takes what has arrived; the frames are then in order in the answer.
    pub(super) fn read(&mut self) -> Vec<Frame> {
        let mut buffer = [0; 8192];
        match fds::receive(self.stream.as_fd(), &mut buffer, &mut self.inbox.fds) {
            Ok(0) => self.broken = true,
            Ok(length) => self.inbox.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.broken = true,
        }
        let mut frames = Vec::new();
        loop {
            match self.inbox.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                Err(_) => {
                    self.broken = true;
                    return frames;
                }
            }
        }
    }

    pub(super) fn reply(&mut self, reply: &Reply) {
        self.send(&control(reply));
    }

    pub(super) fn stream_bytes(&mut self, kind: u8, bytes: &[u8]) {
        self.send(&frame(kind, bytes));
    }

    /// Replies with a descriptor; only where nothing waits, so that it goes with its own bytes.
    pub(super) fn reply_with_fd(&mut self, reply: &Reply, fd: &OwnedFd) {
        let bytes = control(reply);
        let sent = match fds::send(self.stream.as_fd(), &bytes, &[fd.as_raw_fd()]) {
            Ok(sent) => sent,
            Err(_) => {
                self.broken = true;
                return;
            }
        };
        self.send(&bytes[sent..]);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
        self.flush();
        if self.waiting.len() > WAITING_BYTES_MAX {
            self.broken = true;
        }
    }

    /// Sends what the caller takes now.
    pub(super) fn flush(&mut self) {
        while !self.waiting.is_empty() {
            match self.stream.write(self.waiting.as_slices().0) {
                Ok(0) => self.broken = true,
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => self.broken = true,
            }
            if self.broken {
                return;
            }
        }
        self.waiting.shrink_to_fit();
    }
}
