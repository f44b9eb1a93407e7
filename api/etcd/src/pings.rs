//! Clients that ping too often are sent away, as Go's gRPC does: after three pings too close to
//! each other, with nothing said by the server in between, `GOAWAY` with the text that clients know
//! and answer by pinging less often.
//!
//! The HTTP library answers pings itself and does not tell; so frames are counted on their way.
//! Unlike Go's, this rule is the same while a connection has no streams.
// upstream: gRPC, "Server-side keepalive enforcement"

use std::time::{Duration, Instant};

const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const ACK: u8 = 1;
/// Pings too early that are let pass.
const STRIKES_MAX: u32 = 2;
/// Go away (8 bytes and the text): to stream 0, last stream 2^31-1, `ENHANCE_YOUR_CALM`.
pub(crate) const GO_AWAY: &[u8] =
    b"\x00\x00\x16\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x0btoo_many_pings";

/// Counts the pings of one connection.
#[derive(Debug)]
pub(crate) struct Pings {
    /// Closer ones are too close.
    min: Duration,
    last: Option<Instant>,
    strikes: u32,
    sent: Frames,
}

/// Where frames begin in what the server sends.
#[derive(Debug, Default)]
struct Frames {
    /// Of a head that is not whole.
    head: Vec<u8>,
    /// Of a frame whose head was seen.
    left: usize,
}

impl Pings {
    pub(crate) fn new(min: Duration) -> Self {
        Self { min, last: None, strikes: 0, sent: Frames::default() }
    }

    /// A frame of this kind came from the client.
    pub(crate) fn received(&mut self, kind: u8, flags: u8, now: Instant) {
        if kind != PING || flags & ACK != 0 {
            return;
        }
        let is_early = self.last.is_some_and(|last| now.duration_since(last) < self.min);
        self.strikes += u32::from(is_early);
        self.last = Some(now);
    }

    /// Bytes went to the client; answers of the server allow a ping at any time.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        if self.sent.pass(bytes) {
            (self.strikes, self.last) = (0, None);
        }
    }

    /// Whether the client is to go, and may be told so now: no frame is half written.
    pub(crate) fn is_over(&self) -> bool {
        self.strikes > STRIKES_MAX && self.sent.left == 0 && self.sent.head.is_empty()
    }
}

impl Frames {
    /// Whether a frame of an answer begins among them.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut answers = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                self.left -= part;
                bytes = &bytes[part..];
                continue;
            }
            let part = (FRAME_HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if let [high, middle, low, kind, _, _, _, _, _] = self.head[..] {
                self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                answers |= matches!(kind, DATA | HEADERS);
                self.head.clear();
            }
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_early_ping_is_too_many() {
        let start = Instant::now();
        let mut pings = Pings::new(Duration::from_secs(5));
        for second in [0, 1, 2, 3] {
            assert!(!pings.is_over());
            pings.received(PING, 0, start + Duration::from_secs(second));
        }
        assert!(pings.is_over());
        // In the middle of a frame nothing can be said.
        pings.sent(b"\x00\x00\x02\x06");
        assert!(!pings.is_over());
        pings.sent(b"\x01\x00\x00\x00\x00a");
        assert!(!pings.is_over());
        pings.sent(b"b");
        assert!(pings.is_over());
    }

    #[test]
    fn late_pings_answers_and_acknowledgements_are_well() {
        let start = Instant::now();
        let mut pings = Pings::new(Duration::from_secs(5));
        for number in 0..20 {
            pings.received(PING, 0, start + Duration::from_secs(number * 6));
            pings.received(PING, ACK, start + Duration::from_secs(number * 6));
        }
        assert!(!pings.is_over());
        let mut busy = Pings::new(Duration::from_secs(5));
        for _ in 0..20 {
            busy.received(PING, 0, start);
            busy.sent(b"\x00\x00\x01\x00\x00\x00\x00\x00\x01x");
        }
        assert!(!busy.is_over());
    }
}
