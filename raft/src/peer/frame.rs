//! Frames: length u32, kind u8, call number u64, body; numbers little endian. A reply has the
//! number of its call.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Version of the peer protocol; members with another one are refused.
pub(crate) const FORMAT_VERSION: u32 = 1;
const LENGTH_BYTES: usize = 4;
const HEAD_BYTES: usize = 9;
const FRAME_BYTES_MAX: usize = 512 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// What a frame is. Numbers are on the wire: never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Welcome = 2,
    Append = 3,
    Heartbeat = 4,
    Ballot = 5,
    Transfer = 6,
    SnapshotHead = 7,
    SnapshotChunk = 8,
    Proposals = 9,
    ReadIndex = 10,
    KeepAlive = 11,
    TimeToLive = 12,
    Reply = 13,
    /// The call cannot be answered; the body says why.
    Refusal = 14,
    Hash = 15,
    Reconfigure = 16,
    /// The member that it is sent to has been removed; no reply.
    Farewell = 17,
    Vacancy = 18,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        use Kind::*;
        [
            Hello,
            Welcome,
            Append,
            Heartbeat,
            Ballot,
            Transfer,
            SnapshotHead,
            SnapshotChunk,
            Proposals,
            ReadIndex,
            KeepAlive,
            TimeToLive,
            Reply,
            Refusal,
            Hash,
            Reconfigure,
            Farewell,
            Vacancy,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) call: u64,
    pub(crate) body: Bytes,
}

impl Frame {
    pub(crate) fn decode<M: Message + Default>(&self) -> io::Result<M> {
        M::decode(self.body.clone()).map_err(io::Error::other)
    }
}

/// A frame's bytes.
pub(crate) fn encode(kind: Kind, call: u64, message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = start(kind, call, length);
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

pub(crate) fn encode_bytes(kind: Kind, call: u64, body: &[u8]) -> Bytes {
    let mut bytes = start(kind, call, body.len());
    bytes.put_slice(body);
    bytes.freeze()
}

fn start(kind: Kind, call: u64, length: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(LENGTH_BYTES + HEAD_BYTES + length);
    let framed = u32::try_from(HEAD_BYTES + length).unwrap_or(u32::MAX);
    assert!((framed as usize) < FRAME_BYTES_MAX, "a peer frame of {length} bytes");
    bytes.put_u32_le(framed);
    bytes.put_u8(kind as u8);
    bytes.put_u64_le(call);
    bytes
}

/// Cuts frames out of a stream of bytes.
pub(crate) struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::with_capacity(READ_BYTES) }
    }

    /// The next frame; `None` when the other side has closed between two frames. May be dropped
    /// and called again.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if !(HEAD_BYTES..=FRAME_BYTES_MAX).contains(&length) {
            return Err(invalid("a peer frame of an impossible length"));
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            self.buffer.reserve(LENGTH_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let mut frame = self.buffer.split_to(length).freeze();
        let kind = Kind::from_number(frame.get_u8())
            .ok_or_else(|| invalid("a peer frame of an unknown kind"))?;
        let call = frame.get_u64_le();
        Ok(Some(Frame { kind, call, body: frame }))
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
