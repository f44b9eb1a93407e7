//! What the runtime and a shim say to one another over the shim's unix socket.
//!
//! A frame is a length (u32, little endian, of what follows), a kind (u8) and a payload. Control
//! frames carry JSON; the other kinds carry the bytes of a stream. Descriptors travel attached to
//! a control frame's first byte. A shim outlives the program that started it, so fields are only
//! ever added, with defaults, and a shim refuses a version it does not know.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// The version of this protocol. An incompatible change makes a new one; both ends then keep the
/// old one until no shim speaks it any more.
pub const VERSION: u32 = 1;

/// The longest frame that either end accepts.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

/// Control frame: JSON of a [`Request`] or a [`Reply`].
pub const CONTROL: u8 = 0;
/// Bytes for the process's standard input; an empty frame closes it.
pub const STDIN: u8 = 1;
/// Bytes of its standard output.
pub const STDOUT: u8 = 2;
/// Bytes of its standard error.
pub const STDERR: u8 = 3;

/// From the runtime to the shim.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Must be the first on every connection.
    Hello {
        /// [`VERSION`] of the caller.
        version: u32,
    },
    /// Creates a container from its bundle and starts it.
    Start(StartContainer),
    /// Sends a signal to a container's first process, or to all.
    Kill {
        /// Which container.
        id: String,
        /// The number, as Linux counts.
        signal: i32,
        /// Every process in the container's cgroup instead of its first.
        #[serde(default)]
        all: bool,
    },
    /// Runs one more process in a container. Three descriptors come along (stdin, stdout, stderr),
    /// none for a terminal. The connection then belongs to this process: `Resize` may follow,
    /// [`Reply::Exited`] ends it, and closing it early kills the process.
    Exec(ExecProcess),
    /// Streams a container's output, and input to it, over this connection from now on.
    Attach {
        /// Which container.
        id: String,
        /// Whether input is sent.
        #[serde(default)]
        stdin: bool,
    },
    /// Changes the size of the terminal of this connection's process or container.
    Resize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// Opens a container's log anew under its name, after a rotation.
    ReopenLog {
        /// Which container.
        id: String,
    },
    /// Sends every container's state, then every later exit, until the connection is closed.
    Subscribe,
    /// Forgets a container that has exited.
    Forget {
        /// Which container.
        id: String,
    },
    /// Ends the shim and whatever still runs under it.
    Shutdown,
}

/// What is needed to start a container beyond its bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartContainer {
    /// The container's id.
    pub id: String,
    /// Folder with `config.json`.
    pub bundle: String,
    /// Where the exit record goes.
    pub exit_file: String,
    /// The CRI log; none for a container whose output is not kept.
    pub log_path: Option<String>,
    /// A terminal instead of pipes.
    #[serde(default)]
    pub terminal: bool,
    /// Standard input stays open for attachers.
    #[serde(default)]
    pub stdin: bool,
    /// Standard input ends when the first attacher leaves.
    #[serde(default)]
    pub stdin_once: bool,
    /// The container's folder in each cgroup hierarchy.
    pub cgroups: Vec<String>,
    /// Its other processes do not end with its first, since it shares a process namespace.
    #[serde(default)]
    pub shares_pids: bool,
}

/// One more process in a running container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecProcess {
    /// The container's id.
    pub id: String,
    /// Program and arguments.
    pub args: Vec<String>,
    /// With a terminal of the container's.
    #[serde(default)]
    pub terminal: bool,
}

/// From the shim to the runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// Answers `Hello`.
    Hello {
        /// [`VERSION`] of the shim.
        version: u32,
        /// Its process.
        pid: i32,
    },
    /// Done.
    Ok,
    /// Not done.
    Error {
        /// Why, for a person.
        message: String,
    },
    /// Answers `Exec`: the process runs; with a terminal its master comes along as a descriptor.
    Started {
        /// Its number in the node's process namespace.
        pid: i32,
    },
    /// Answers `Attach`; streams follow.
    Attached,
    /// Answers `Start`; on a subscription the state of a container, or its end.
    Container(ContainerRecord),
    /// All containers were sent; what follows is news.
    Synced,
    /// The process of this connection ended.
    Exited {
        /// 128 + the signal for one that a signal ended.
        exit_code: i32,
    },
}

/// What a shim knows of a container; also what the exit file holds once it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// The container's id.
    pub id: String,
    /// Its first process.
    pub pid: i32,
    /// Nanoseconds since 1970.
    pub started_at: i64,
    /// The end; none while it runs.
    pub exit: Option<Exit>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 128 + the signal for one that a signal ended.
    pub exit_code: i32,
    /// Nanoseconds since 1970.
    pub finished_at: i64,
    /// The kernel killed one of its processes for want of memory.
    pub oom_killed: bool,
}

/// A frame as received.
#[derive(Debug)]
pub struct Frame {
    /// One of the kinds above.
    pub kind: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`], or shorter than its kind.
    #[error("frame of {0} bytes")]
    Length(usize),
    /// JSON that is not the message expected.
    #[error("malformed message")]
    Json(#[from] serde_json::Error),
}

/// The bytes of a frame.
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 5);
    bytes.extend_from_slice(&(payload.len() as u32 + 1).to_le_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    bytes
}

/// The bytes of a control frame.
pub fn control<T: Serialize>(message: &T) -> Vec<u8> {
    frame(CONTROL, &serde_json::to_vec(message).unwrap_or_default())
}

/// Collects received bytes and descriptors into frames.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Descriptors that came along and that nobody took yet.
    pub fds: Vec<OwnedFd>,
}

impl Inbox {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let kind = self.bytes[4];
        let payload = self.bytes[5..4 + length].to_vec();
        self.bytes.drain(..4 + length);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        Ok(Some(Frame { kind, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let mut bytes = control(&Request::Subscribe);
        bytes.extend(frame(STDIN, b"text"));
        bytes.extend(frame(STDIN, b""));
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        for byte in bytes {
            inbox.push(&[byte]);
            while let Some(frame) = inbox.next_frame().unwrap() {
                seen.push((frame.kind, frame.payload));
            }
        }
        assert_eq!(seen[0], (CONTROL, br#"{"do":"subscribe"}"#.to_vec()));
        assert_eq!(seen[1..], [(STDIN, b"text".to_vec()), (STDIN, Vec::new())]);
    }

    #[test]
    fn an_absurd_length_is_refused() {
        let mut inbox = Inbox::default();
        inbox.push(&u32::MAX.to_le_bytes());
        assert!(matches!(inbox.next_frame(), Err(FrameError::Length(_))));
    }
}
