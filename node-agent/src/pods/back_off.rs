//! Exponential delays between attempts that keep failing.
use std::time::Duration;

/// Nanoseconds since the epoch, as the runtime tells time.
pub(crate) type Nanos = i64;

/// The first delay, and how a container or image that failed once is retried.
pub(crate) const INITIAL: Duration = Duration::from_secs(10);

/// The delay that an attempt after this one has to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackOff {
    pub(crate) delay: Duration,
    pub(crate) updated_at: Nanos,
}

impl BackOff {
    /// The end of the back-off when the last attempt ended at `event`; none when the next attempt may start.
    /// After twice the longest delay without a new failure the count starts anew.
    // upstream: client-go util/flowcontrol Backoff, IsInBackOffSince
    pub(crate) fn until(self, event: Nanos, now: Nanos, max: Duration) -> Option<Nanos> {
        if self.expired(event, max) {
            return None;
        }
        let until = event.saturating_add(nanos(self.delay));
        (now < until).then_some(until)
    }

    /// The back-off after one more attempt.
    pub(crate) fn next(last: Option<Self>, event: Nanos, now: Nanos, max: Duration) -> Self {
        let delay = match last {
            Some(last) if !last.expired(event, max) => (last.delay * 2).min(max),
            Some(_) | None => INITIAL.min(max),
        };
        Self { delay, updated_at: now }
    }

    fn expired(self, event: Nanos, max: Duration) -> bool {
        event.saturating_sub(self.updated_at) > nanos(max).saturating_mul(2)
    }
}

/// A duration as a difference of `Nanos`.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A duration as Go writes it, rounded to milliseconds: `10s`, `1m20s`, `1.2s`, `350ms`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return if millis == 0 { "0s".into() } else { format!("{millis}ms") };
    }
    let (hours, rest) = (millis / 3_600_000, millis % 3_600_000);
    let (minutes, rest) = (rest / 60_000, rest % 60_000);
    let mut seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    while seconds.ends_with('0') {
        seconds.pop();
    }
    let seconds = seconds.trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;
    const MAX: Duration = Duration::from_secs(300);

    #[test]
    fn delays_double_up_to_the_longest_and_reset_after_a_long_run() {
        let mut back_off = None;
        let mut delays = Vec::new();
        let mut now = 0;
        for _ in 0..7 {
            let next = BackOff::next(back_off, now, now, MAX);
            delays.push(next.delay.as_secs());
            now += nanos(next.delay) + SECOND;
            back_off = Some(next);
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        let later = now + 601 * SECOND;
        assert_eq!(BackOff::next(back_off, later, later, MAX).delay.as_secs(), 10);
    }

    #[test]
    fn the_wait_counts_from_the_end_of_the_last_run() {
        let back_off = BackOff { delay: INITIAL, updated_at: 0 };
        assert_eq!(back_off.until(5 * SECOND, 6 * SECOND, MAX), Some(15 * SECOND));
        assert_eq!(back_off.until(5 * SECOND, 15 * SECOND, MAX), None);
        assert_eq!(back_off.until(700 * SECOND, 701 * SECOND, MAX), None);
    }

    #[test]
    fn durations_read_as_go_writes_them() {
        let check = |millis, text| assert_eq!(go_duration(Duration::from_millis(millis)), text);
        check(10_000, "10s");
        check(80_000, "1m20s");
        check(300_000, "5m0s");
        check(1_234, "1.234s");
        check(350, "350ms");
    }
}
