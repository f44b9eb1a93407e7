//! Begun: a socket of which the first bytes have been looked at.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// A socket and what has been read of it.
pub(crate) struct Begun<S> {
    inner: S,
    first: BytesMut,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, first: BytesMut::new() }
    }

    /// Whether the other side begins with these bytes; waits for as many of them as it takes to
    /// tell.
    pub(crate) async fn begins_with(&mut self, bytes: &[u8]) -> io::Result<bool> {
        loop {
            let common = bytes.len().min(self.first.len());
            if self.first[..common] != bytes[..common] {
                return Ok(false);
            }
            if common == bytes.len() {
                return Ok(true);
            }
            if self.inner.read_buf(&mut self.first).await? == 0 {
                return Ok(false);
            }
        }
    }

    pub(crate) fn into_parts(self) -> (S, BytesMut) {
        (self.inner, self.first)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, to);
        }
        let part = self.first.len().min(to.remaining());
        to.put_slice(&self.first[..part]);
        self.first.advance(part);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
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
