//! Window: what a client may send, on a stream or on the whole connection.

use crate::frame::{WINDOW_UPDATE, put_number};
use crate::responses::Sender;

/// One of the client's windows.
#[derive(Debug)]
pub(crate) struct Window {
    /// 0: of the connection.
    stream: u32,
    size: i64,
    left: i64,
    /// Came, and is not read.
    held: i64,
}

impl Window {
    pub(crate) fn new(stream: u32, size: u32) -> Self {
        let size = i64::from(size);
        Self { stream, size, left: size, held: 0 }
    }

    /// So much came; whether the client was allowed to send it.
    #[must_use]
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let bytes = signed(bytes);
        self.left -= bytes;
        self.held += bytes;
        self.left >= 0
    }

    /// So much of it was read.
    pub(crate) fn read(&mut self, bytes: usize) {
        self.held -= signed(bytes);
    }

    /// Tells the client that it may send more, if that is worth a frame.
    pub(crate) fn open(&mut self, sender: &mut Sender) {
        let more = self.size - self.held - self.left;
        if more * 2 >= self.size
            && let Ok(number) = u32::try_from(more)
        {
            self.left += more;
            put_number(sender.output.tail(), WINDOW_UPDATE, self.stream, number);
        }
    }

    /// What came and is not read.
    pub(crate) fn held(&self) -> usize {
        usize::try_from(self.held).unwrap_or(0)
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
