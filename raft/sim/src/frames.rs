//! Frames in a stream of peer messages, and what disorder may do to them: `raft/src/peer/frame.rs`
//! has their form.

use bytes::BytesMut;
use keelson_raft::runtime::Runtime;

const LENGTH_BYTES: usize = 4;
/// Append, heartbeat, ballot, reply: consensus takes the first three in any order and number, and a
/// reply is known by the number of its call.
const LOOSE: [u8; 4] = [3, 4, 5, 13];

/// What has been read of a stream and not been handed on.
#[derive(Default)]
pub(crate) struct Frames {
    read: BytesMut,
    /// A frame that waits for the next one to go first.
    held: BytesMut,
}

impl Frames {
    /// Where more is read to.
    pub(crate) fn space(&mut self) -> &mut BytesMut {
        self.read.reserve(1024);
        &mut self.read
    }

    /// Whether something waits for a next frame.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// What waited for a next frame that did not come.
    pub(crate) fn release(&mut self) -> BytesMut {
        std::mem::take(&mut self.held)
    }

    /// What arrives of it: whole frames, in order but for disorder.
    pub(crate) fn take(&mut self, disorder: u64) -> BytesMut {
        if disorder == 0 && self.held.is_empty() {
            let mut end = 0;
            while let Some(next) = length(&self.read[end..]) {
                end += next;
            }
            return self.read.split_to(end);
        }
        let mut out = BytesMut::new();
        while let Some(end) = length(&self.read) {
            let frame = self.read.split_to(end);
            let loose = frame.get(LENGTH_BYTES).is_some_and(|kind| LOOSE.contains(kind));
            let random = Runtime::random();
            if loose && random % 100 < disorder {
                out.extend_from_slice(&frame);
            }
            if loose && self.held.is_empty() && (random >> 8) % 100 < disorder {
                self.held = frame;
                continue;
            }
            out.extend_from_slice(&frame);
            out.extend_from_slice(&std::mem::take(&mut self.held));
        }
        out
    }
}

/// Of the frame that these bytes begin with, if they have all of it.
fn length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<LENGTH_BYTES>()?;
    let end = LENGTH_BYTES + u32::from_le_bytes(*head) as usize;
    (bytes.len() >= end).then_some(end)
}
