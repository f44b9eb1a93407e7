//! A member's clock: it never goes back, but too fast or too slow, and it jumps.

use std::time::Duration;

const MILLION: i128 = 1_000_000;

/// Local time as a line through the last moment at which its rate changed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GroupClock {
    global: Duration,
    local: Duration,
    /// Millionths that it goes too fast.
    rate: i64,
}

impl GroupClock {
    /// What it shows.
    pub(crate) fn local(&self, now: Duration) -> Duration {
        let passed = nanos(now) - nanos(self.global);
        duration(nanos(self.local) + passed * (MILLION + i128::from(self.rate)) / MILLION)
    }

    /// When it will show this.
    pub(crate) fn global(&self, now: Duration, local: Duration) -> Duration {
        let rate = MILLION + i128::from(self.rate);
        let left = nanos(local) - nanos(self.local(now));
        // Rounded up: no sooner.
        duration(nanos(now) + (left.max(0) * MILLION + rate - 1) / rate)
    }

    /// From now on it goes this much too fast.
    pub(crate) fn set_rate(&mut self, now: Duration, rate: i64) {
        *self = Self { global: now, local: self.local(now), rate };
    }

    /// It shows this much more at once.
    pub(crate) fn jump(&mut self, by: Duration) {
        self.local += by;
    }
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

fn duration(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_still_tells_when_it_will_show_a_time() {
        let second = Duration::from_secs(1);
        let mut clock = GroupClock::default();
        assert_eq!(clock.local(second), second);
        clock.set_rate(second, 100_000);
        assert_eq!(clock.local(second * 11), second * 12);
        clock.jump(second);
        assert_eq!(clock.local(second * 11), second * 13);
        for rate in [-70_000, -1, 0, 33_333] {
            clock.set_rate(second * 20, rate);
            let wanted = second * 50;
            let at = clock.global(second * 21, wanted);
            assert!(clock.local(at) >= wanted, "rate {rate}");
            assert!(clock.local(at - Duration::from_nanos(2)) < wanted, "rate {rate}");
        }
        assert_eq!(clock.global(second * 30, second), second * 30, "what is past is now");
    }
}
