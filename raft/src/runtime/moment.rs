//! Moment: a point of monotonic time, real or simulated.

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::executor::current;

/// Monotonic time since the process, or the simulation, began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

fn process_start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    // Some way back, so that a moment before now can be named.
    *START.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
    })
}

impl Moment {
    /// The present.
    pub fn now() -> Self {
        match current() {
            Some(executor) => Self(executor.now() + Duration::from_secs(3600)),
            None => Self(process_start().elapsed()),
        }
    }

    /// How long ago it was; zero for the future.
    pub fn age(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// The time since a fixed start.
    pub fn since_start(self) -> Duration {
        self.0
    }

    pub(crate) fn real(self) -> tokio::time::Instant {
        (process_start() + self.0).into()
    }

    pub(crate) fn simulated(self) -> Duration {
        self.0.saturating_sub(Duration::from_secs(3600))
    }
}

impl openraft::Instant for Moment {
    fn now() -> Self {
        Self::now()
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, other: Duration) -> Self {
        Self(self.0.saturating_add(other))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, other: Duration) {
        *self = *self + other;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, other: Duration) -> Self {
        Self(self.0.saturating_sub(other))
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, other: Duration) {
        *self = *self - other;
    }
}

impl Sub for Moment {
    type Output = Duration;
    fn sub(self, other: Self) -> Duration {
        self.0.saturating_sub(other.0)
    }
}
