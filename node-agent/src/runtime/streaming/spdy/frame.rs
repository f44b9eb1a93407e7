//! Frames: eight bytes of head, then a payload.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::headers::empty_block;

/// A longer payload ends the connection; clients send at most 64 KiB at once.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
const CONTROL_BIT: u8 = 0x80;
const VERSION: u16 = 3;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;

/// Tells a stream's creator that it is not wanted.
const REFUSED_STREAM: u32 = 3;

/// What a client sends, as far as port forwarding cares.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream, with its compressed headers.
    SynStream {
        stream: u32,
        headers: Vec<u8>,
        fin: bool,
    },
    /// Both directions end at once.
    Reset {
        stream: u32,
    },
    /// To be sent back.
    Ping {
        id: u32,
    },
    /// The client opens no more streams.
    GoAway,
    Data {
        stream: u32,
        data: Vec<u8>,
        fin: bool,
    },
    /// Settings, priorities, windows: nothing that matters here.
    Other,
}

/// The next frame; none at the end of the connection.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 8];
    match from.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let [.., flags, high, middle, low] = head;
    let length = u32::from_be_bytes([0, high, middle, low]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > PAYLOAD_BYTES_MAX {
        return Err(malformed(format!("a frame of {length} bytes")));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    let fin = flags & FIN != 0;
    let [first, second, third, fourth, ..] = head;
    if first & CONTROL_BIT == 0 {
        let stream = u32::from_be_bytes([first, second, third, fourth]);
        return Ok(Some(Frame::Data { stream, data: payload, fin }));
    }
    let version = u16::from_be_bytes([first & !CONTROL_BIT, second]);
    if version != VERSION {
        return Err(malformed(format!("SPDY version {version}")));
    }
    control(u16::from_be_bytes([third, fourth]), payload, fin).map(Some)
}

fn control(kind: u16, mut payload: Vec<u8>, fin: bool) -> io::Result<Frame> {
    let word = |payload: &[u8]| {
        let bytes = payload.first_chunk().copied();
        bytes.map(u32::from_be_bytes).ok_or_else(|| malformed("a short frame".to_owned()))
    };
    Ok(match kind {
        SYN_STREAM => {
            let stream = word(&payload)?;
            // The associated stream and the priority do not matter here.
            if payload.len() < 10 {
                return Err(malformed("a short frame".to_owned()));
            }
            Frame::SynStream { stream, headers: payload.split_off(10), fin }
        }
        RST_STREAM => Frame::Reset { stream: word(&payload)? },
        PING => Frame::Ping { id: word(&payload)? },
        GO_AWAY => Frame::GoAway,
        _ => Frame::Other,
    })
}

fn malformed(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Accepts a stream; `first` says whether it is the connection's first.
pub(super) fn reply(stream: u32, first: bool) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend(empty_block(first));
    control_frame(SYN_REPLY, &payload)
}

/// Refuses a stream.
pub(super) fn refuse(stream: u32) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend(REFUSED_STREAM.to_be_bytes());
    control_frame(RST_STREAM, &payload)
}

/// Answers a ping.
pub(super) fn pong(id: u32) -> Vec<u8> {
    control_frame(PING, &id.to_be_bytes())
}

/// Data of a stream; `fin` says that it is the last.
pub(super) fn data(stream: u32, bytes: &[u8], fin: bool) -> Vec<u8> {
    let mut frame = Vec::with_capacity(bytes.len() + 8);
    frame.extend(stream.to_be_bytes());
    frame.extend(flags_and_length(u8::from(fin), bytes.len()));
    frame.extend_from_slice(bytes);
    frame
}

fn control_frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 8);
    frame.extend((VERSION | u16::from(CONTROL_BIT) << 8).to_be_bytes());
    frame.extend(kind.to_be_bytes());
    frame.extend(flags_and_length(0, payload.len()));
    frame.extend_from_slice(payload);
    frame
}

fn flags_and_length(flags: u8, length: usize) -> [u8; 4] {
    assert!(length <= PAYLOAD_BYTES_MAX, "frames of ours are short: {length}");
    let [_, high, middle, low] = u32::try_from(length).unwrap_or_default().to_be_bytes();
    [flags, high, middle, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_they_are_written() {
        let mut bytes = data(5, b"abc", true);
        bytes.extend(pong(7));
        bytes.extend(refuse(9));
        bytes.extend(reply(1, true));
        let mut rest = bytes.as_slice();
        let mut next = async || read(&mut rest).await.unwrap();
        let last = Frame::Data { stream: 5, data: b"abc".to_vec(), fin: true };
        assert_eq!(next().await, Some(last));
        assert_eq!(next().await, Some(Frame::Ping { id: 7 }));
        assert_eq!(next().await, Some(Frame::Reset { stream: 9 }));
        assert_eq!(next().await, Some(Frame::Other));
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn nonsense_ends_the_connection() {
        for bytes in [
            &b"\x80\x02\0\x01\0\0\0\0"[..],
            b"\0\0\0\x01\0\xff\xff\xff",
            b"\x80\x03\0\x01\0\0\0\x04\0\0\0\x01",
        ] {
            let mut bytes = bytes;
            assert!(read(&mut bytes).await.is_err());
        }
    }
}
