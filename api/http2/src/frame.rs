//! Frames: their head, kinds, flags and the reasons why streams and connections end.

use bytes::{BufMut as _, BytesMut};

/// Bytes before each payload.
pub(crate) const HEAD: usize = 9;
/// Longest payload that is taken: the least that every client may send.
pub(crate) const PAYLOAD_MAX: usize = 16 << 10;
/// The highest stream, and the largest window.
pub(crate) const U31_MAX: u32 = (1 << 31) - 1;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS.
pub(crate) const END_STREAM: u8 = 0x1;
/// Of SETTINGS and PING.
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

/// Settings, by their number.
pub(crate) const SETTING_HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const SETTING_ENABLE_PUSH: u16 = 2;
pub(crate) const SETTING_MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const SETTING_INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const SETTING_MAX_FRAME_SIZE: u16 = 5;
pub(crate) const SETTING_MAX_HEADER_LIST_SIZE: u16 = 6;

/// Why a stream or a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// In order.
    NoError = 0,
    /// The other side broke the protocol.
    ProtocolError = 1,
    /// Something went wrong here.
    InternalError = 2,
    /// More was sent than the window allows.
    FlowControlError = 3,
    /// A frame for a stream that has ended.
    StreamClosed = 5,
    /// A frame of a wrong length.
    FrameSizeError = 6,
    /// Not begun: may be tried again.
    RefusedStream = 7,
    /// No longer wanted.
    Cancel = 8,
    /// Headers that cannot be decoded.
    CompressionError = 9,
    /// Too much of something.
    EnhanceYourCalm = 11,
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameHead {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHead {
    /// The head at the beginning of `bytes`, if it is whole.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let [high, middle, low, kind, flags, a, b, c, d, ..] = *bytes else { return None };
        Some(Self {
            length: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            kind,
            flags,
            stream: u32::from_be_bytes([a, b, c, d]) & U31_MAX,
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes the head of a frame.
pub(crate) fn put_head(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    #[allow(clippy::cast_possible_truncation, reason = "payloads have less than 2^24 bytes")]
    let length = (length as u32).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    out.put_slice(&[length[1], length[2], length[3], kind, flags, a, b, c, d]);
}

/// Writes a frame whose payload is one number.
pub(crate) fn put_number(out: &mut BytesMut, kind: u8, stream: u32, number: u32) {
    put_head(out, 4, kind, 0, stream);
    out.put_u32(number);
}

/// Four bytes of a payload as a number.
pub(crate) fn number(payload: &[u8]) -> Option<u32> {
    let [a, b, c, d] = *payload else { return None };
    Some(u32::from_be_bytes([a, b, c, d]))
}
