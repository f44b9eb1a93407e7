//! HTTP/2 from clients that name their server in a form that the HTTP library refuses.
//!
//! Old Go clients send the whole endpoint as `:authority` (`http://host:port`, `#initially=[..]`, a
//! path). etcd takes anything there, and nobody here reads it; so a literal one is replaced before
//! the library sees it. The place in the compression table that it may get stays the same.
// upstream: RFC 9113 (frames), RFC 7541 (header compression)

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pings::{GO_AWAY, Pings};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in the static table.
const AUTHORITY: u64 = 1;
/// What stands in its place: a string that is not compressed.
const REPLACEMENT: &[u8] = b"\x09localhost";
/// Longer frames of headers are not looked at; no client sends them.
const LOOKED_AT_MAX: usize = 16 << 10;
const READ_BYTES: usize = 8 << 10;

/// A connection whose requests all have an authority that is well formed.
pub(crate) struct PlainAuthority<S> {
    inner: S,
    state: State,
    /// Came, but is not whole.
    held: BytesMut,
    /// Is to be read.
    ready: BytesMut,
    pings: Pings,
    /// What is left of the last frame that the client gets.
    farewell: &'static [u8],
    /// It has been sent.
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It may be HTTP/2.
    Preface,
    /// A frame begins.
    Frame,
    /// So much of a frame is passed on as it is.
    Skip(usize),
    /// It is not HTTP/2.
    Pass,
}

impl<S> PlainAuthority<S> {
    /// `ping_min`: pings closer to each other than this are too many.
    pub(crate) fn new(inner: S, ping_min: Duration) -> Self {
        Self {
            inner,
            state: State::Preface,
            held: BytesMut::new(),
            ready: BytesMut::new(),
            pings: Pings::new(ping_min),
            farewell: GO_AWAY,
            ended: false,
        }
    }

    /// Moves what is whole from `held` to `ready`.
    fn advance(&mut self) {
        loop {
            match self.state {
                State::Pass => return self.ready.unsplit(self.held.split()),
                State::Skip(0) => self.state = State::Frame,
                State::Skip(left) => {
                    let part = left.min(self.held.len());
                    if part == 0 {
                        return;
                    }
                    self.ready.extend_from_slice(&self.held.split_to(part));
                    self.state = State::Skip(left - part);
                }
                State::Preface => {
                    let common = PREFACE.len().min(self.held.len());
                    if self.held[..common] != PREFACE[..common] {
                        self.state = State::Pass;
                    } else if common < PREFACE.len() {
                        return;
                    } else {
                        self.state = State::Skip(common);
                    }
                }
                State::Frame => {
                    let Some(head) = self.held.get(..FRAME_HEAD) else { return };
                    let length = usize::from(head[0]) << 16
                        | usize::from(head[1]) << 8
                        | usize::from(head[2]);
                    let (kind, flags) = (head[3], head[4]);
                    let whole = FRAME_HEAD + length;
                    self.pings.received(kind, flags, Instant::now());
                    if kind != HEADERS || flags & END_HEADERS == 0 || length > LOOKED_AT_MAX {
                        self.state = State::Skip(whole);
                        continue;
                    }
                    if self.held.len() < whole {
                        return;
                    }
                    let frame = self.held.split_to(whole).freeze();
                    self.ready.extend_from_slice(&replaced(&frame, flags).unwrap_or(frame));
                }
            }
        }
    }
}

/// The frame with another authority; `None`: it has none that is written out, or is damaged.
fn replaced(frame: &Bytes, flags: u8) -> Option<Bytes> {
    let payload = frame.get(FRAME_HEAD..)?;
    let (mut start, mut end) = (0, payload.len());
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*payload.first()?))?;
        start += 1;
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    let block = payload.get(start..end)?;
    let (from, to) = authority(block)?;
    let mut payload_new = payload[..start + from].to_vec();
    payload_new.extend_from_slice(REPLACEMENT);
    payload_new.extend_from_slice(&payload[start + to..]);
    let length = u32::try_from(payload_new.len()).ok()?.to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend_from_slice(&frame[3..FRAME_HEAD]);
    out.extend_from_slice(&payload_new);
    Some(out.into())
}

/// Where in a block of headers the authority's string lies, if it is one to be replaced.
fn authority(block: &[u8]) -> Option<(usize, usize)> {
    let mut rest = block;
    while let Some(first) = rest.first() {
        let bits = match first {
            0x80.. => {
                integer(&mut rest, 7)?;
                continue;
            }
            0x40.. => 6,
            0x20.. => {
                integer(&mut rest, 5)?;
                continue;
            }
            _ => 4,
        };
        let name = integer(&mut rest, bits)?;
        if name == 0 {
            string(&mut rest)?;
        }
        let from = block.len() - rest.len();
        let (compressed, value) = string(&mut rest)?;
        if name == AUTHORITY {
            let is_odd = compressed || value.iter().any(|byte| b"/#[ %".contains(byte));
            return is_odd.then_some((from, block.len() - rest.len()));
        }
    }
    None
}

fn integer(rest: &mut &[u8], bits: u32) -> Option<u64> {
    let mask = (1u8 << bits) - 1;
    let first = rest.first()? & mask;
    rest.advance(1);
    if first < mask {
        return Some(first.into());
    }
    let mut number = u64::from(mask);
    for shift in (0..28).step_by(7) {
        let byte = *rest.first()?;
        rest.advance(1);
        number += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Whether a string is compressed, and its bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let compressed = rest.first()? & 0x80 != 0;
    let length = usize::try_from(integer(rest, 7)?).ok()?;
    let (value, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((compressed, value))
}

impl<S: AsyncRead + Unpin> AsyncRead for PlainAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                let part = this.ready.len().min(to.remaining());
                to.put_slice(&this.ready.split_to(part));
                return Poll::Ready(Ok(()));
            }
            if this.state == State::Pass && this.held.is_empty() {
                return Pin::new(&mut this.inner).poll_read(context, to);
            }
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                // What is not whole will never be.
                this.ready.unsplit(this.held.split());
                if this.ready.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.held.extend_from_slice(buffer.filled());
            this.advance();
        }
    }
}

impl<S: AsyncWrite + Unpin> PlainAuthority<S> {
    fn wrote(&mut self, bytes: &[u8]) {
        if self.state != State::Pass {
            self.pings.sent(bytes);
        }
    }

    /// Instead of the next frame, a client that pings too often gets its last one.
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended && !self.pings.is_over() {
            return Poll::Ready(Ok(()));
        }
        while !self.farewell.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, self.farewell))?;
            self.farewell = &self.farewell[written..];
            self.ended = true;
        }
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "too many pings")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PlainAuthority<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_farewell(context))?;
        let written = ready!(Pin::new(&mut this.inner).poll_write(context, bytes))?;
        this.wrote(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_farewell(context))?;
        let written = ready!(Pin::new(&mut this.inner).poll_write_vectored(context, bytes))?;
        let mut left = written;
        for slice in bytes {
            let part = left.min(slice.len());
            this.wrote(&slice[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        frame.extend_from_slice(payload);
        frame
    }

    /// `:method POST`, then `:authority`, then a header of its own.
    fn headers(authority: &[u8]) -> Vec<u8> {
        let mut block = vec![0x83, 0x41, u8::try_from(authority.len()).unwrap()];
        block.extend_from_slice(authority);
        block.extend_from_slice(b"\x40\x01a\x01b");
        block
    }

    async fn through(sent: &[u8], at_a_time: usize) -> Vec<u8> {
        let (mut near, far) = tokio::io::duplex(64 << 10);
        let sent = sent.to_vec();
        let sending = tokio::spawn(async move {
            for part in sent.chunks(at_a_time) {
                tokio::io::AsyncWriteExt::write_all(&mut near, part).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut received = Vec::new();
        PlainAuthority::new(far, Duration::ZERO).read_to_end(&mut received).await.unwrap();
        sending.await.unwrap();
        received
    }

    #[tokio::test]
    async fn an_odd_authority_is_replaced_wherever_the_pieces_end() {
        let data = frame(0, 1, &[7; 300]);
        let connection = |authority: &[u8]| {
            let first = frame(HEADERS, END_HEADERS, &headers(authority));
            [PREFACE, &frame(4, 0, &[]), &first, &data].concat()
        };
        let padded = |authority: &[u8]| {
            let block = headers(authority);
            let payload = [&[2], &[0; 5][..], &block, &[0, 0]].concat();
            [PREFACE, &frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &payload)].concat()
        };
        for at_a_time in [1, 7, 100_000] {
            for odd in [&b"http://127.0.0.1:2379"[..], b"#initially=[a;b]", b"/run/socket"] {
                assert_eq!(through(&connection(odd), at_a_time).await, connection(b"localhost"));
                assert_eq!(through(&padded(odd), at_a_time).await, padded(b"localhost"));
            }
            let good = connection(b"127.0.0.1:2379");
            assert_eq!(through(&good, at_a_time).await, good);
        }
    }

    #[tokio::test]
    async fn who_pings_too_often_is_told_to_go() {
        use tokio::io::AsyncWriteExt as _;
        let (mut near, far) = tokio::io::duplex(64 << 10);
        let mut connection = PlainAuthority::new(far, Duration::from_secs(60));
        near.write_all(PREFACE).await.unwrap();
        let ping = frame(6, 0, &[1; 8]);
        let mut taken = vec![0; PREFACE.len()];
        connection.read_exact(&mut taken).await.unwrap();
        for number in 0..4 {
            near.write_all(&ping).await.unwrap();
            let mut taken = vec![0; ping.len()];
            connection.read_exact(&mut taken).await.unwrap();
            let acknowledged = connection.write_all(&frame(6, 1, &[1; 8])).await;
            assert_eq!(acknowledged.is_ok(), number < 3);
        }
        drop(connection);
        let mut received = Vec::new();
        near.read_to_end(&mut received).await.unwrap();
        assert_eq!(received[3 * ping.len()..], *GO_AWAY);
    }

    #[tokio::test]
    async fn all_else_passes_as_it_is() {
        let one = b"GET /health HTTP/1.1\r\nHost: http://odd/\r\n\r\n";
        assert_eq!(through(one, 3).await, one);
        let damaged = [PREFACE, &frame(HEADERS, END_HEADERS, &[0x41, 0x7f]), b"rest"].concat();
        assert_eq!(through(&damaged, 5).await, damaged);
        assert_eq!(through(&PREFACE[..9], 2).await, &PREFACE[..9]);
    }
}
