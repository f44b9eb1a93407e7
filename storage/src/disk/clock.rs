//! Clock: where time enters; apply never reads it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keelson_failpoint::failpoint;

/// A source of time. Monotonic time orders and measures, wall time is for people.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Monotonic time since an arbitrary start.
    fn monotonic(&self) -> Duration;
    /// Wall-clock time since the Unix epoch.
    fn wall(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> Duration {
        wall_clock()
    }
}

/// The machine's wall clock, since the Unix epoch: the only place that reads it for a member, so that
/// tests can make one member's clock jump (`clockJump`: so many milliseconds fast, or slow below zero).
pub fn wall_clock() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    failpoint!(clockJump => |millis| {
        let millis: i64 = millis.parse().unwrap_or_default();
        let far = Duration::from_millis(millis.unsigned_abs());
        return if millis < 0 { now.saturating_sub(far) } else { now.saturating_add(far) };
    });
    now
}
