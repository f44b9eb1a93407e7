//! Output: what waits to be written to the client, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Larger payloads are not copied behind others.
const COPIED_MAX: usize = 8 << 10;
/// An empty buffer that is larger is given back.
const KEPT_MAX: usize = 8 << 10;
/// Pieces of one write.
const PIECES: usize = 32;

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Before `tail`.
    whole: VecDeque<Bytes>,
    tail: BytesMut,
    length: usize,
}

impl Output {
    /// Number of bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.length + self.tail.len()
    }

    /// Where small things are appended.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends a payload.
    pub(crate) fn push(&mut self, payload: Bytes) {
        if payload.len() <= COPIED_MAX {
            return self.tail.extend_from_slice(&payload);
        }
        let before = self.tail.split().freeze();
        self.length += before.len() + payload.len();
        if !before.is_empty() {
            self.whole.push_back(before);
        }
        self.whole.push_back(payload);
    }

    /// Writes what waits; ready when nothing does.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let to = Pin::new(&mut *to);
            let written = if self.whole.is_empty() {
                ready!(to.poll_write(context, &self.tail))?
            } else if to.is_write_vectored() {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let pieces = self.whole.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
                let count = slices
                    .iter_mut()
                    .zip(pieces)
                    .map(|(slice, piece)| *slice = IoSlice::new(piece))
                    .count();
                ready!(to.poll_write_vectored(context, &slices[..count]))?
            } else {
                ready!(to.poll_write(context, &self.whole[0]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        if self.tail.capacity() > KEPT_MAX {
            self.tail = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.whole.front_mut() {
            let part = first.len().min(written);
            first.advance(part);
            self.length -= part;
            written -= part;
            if !first.is_empty() {
                return;
            }
            self.whole.pop_front();
        }
        if written == self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(written);
        }
    }
}
