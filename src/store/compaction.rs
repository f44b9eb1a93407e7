//! Automatic compaction: what is kept, and when the rest goes.

use std::collections::VecDeque;
use std::time::Duration;

use keelson_client::Store as _;
use keelson_etcd_api::EtcdFace;
use tokio::time::Instant;

use super::flags::duration;

/// How often revisions are counted, and the longest pause between compactions by time.
const REVISION_PERIOD: Duration = Duration::from_secs(5 * 60);
const PERIOD_MAX: Duration = Duration::from_secs(60 * 60);
/// How many looks a period has.
const LOOKS: u32 = 10;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// All of the last so long.
    Time(Duration),
    /// So many revisions.
    Revisions(i64),
}

impl Retention {
    /// Reads etcd's two flags; `None`: nothing is ever compacted by itself.
    // upstream: etcd v3.7, `parseCompactionRetention`
    pub fn read(mode: &str, text: &str) -> Result<Option<Self>, String> {
        let invalid = |text: &str| {
            format!("error parsing CompactionRetention: time: invalid duration {text:?}")
        };
        let retention = match text.parse::<i64>() {
            Ok(number) if mode == "revision" => Self::Revisions(number),
            Ok(hours) => {
                let seconds = u64::try_from(hours).ok().and_then(|hours| hours.checked_mul(3600));
                Self::Time(Duration::from_secs(seconds.ok_or_else(|| invalid(text))?))
            }
            // In `revision` mode too a time is read, as nanoseconds.
            Err(_) => {
                let nanos = duration(text).filter(|nanos| *nanos >= 0);
                let nanos = nanos.ok_or_else(|| invalid(text))?;
                match mode {
                    "revision" => Self::Revisions(nanos),
                    _ => Self::Time(Duration::from_nanos(nanos.unsigned_abs())),
                }
            }
        };
        let keeps_all = match retention {
            Self::Time(time) => time.is_zero(),
            Self::Revisions(count) => count <= 0,
        };
        Ok((!keeps_all).then_some(retention))
    }
}

/// Compacts for as long as it is polled, while this member leads.
pub async fn run(face: EtcdFace, retention: Retention) {
    match retention {
        Retention::Revisions(count) => by_revision(&face, count).await,
        Retention::Time(period) => by_time(&face, period).await,
    }
}

async fn by_revision(face: &EtcdFace, kept: i64) {
    let mut last = 0;
    loop {
        tokio::time::sleep(REVISION_PERIOD).await;
        let due = beyond(face.node().view().revision(), kept, last);
        if let Some(revision) = due.filter(|_| leads(face))
            && compact(face, revision).await
        {
            last = revision;
        }
    }
}

/// What is to be compacted so that so many revisions are kept, if more than the last time.
fn beyond(current: i64, kept: i64, last: i64) -> Option<i64> {
    current.checked_sub(kept).filter(|revision| *revision > last)
}

async fn by_time(face: &EtcdFace, period: Duration) {
    let started = Instant::now();
    let mut plan = Periodic::new(period);
    loop {
        plan.saw(started.elapsed(), face.node().view().revision());
        tokio::time::sleep(plan.pause()).await;
        let now = started.elapsed();
        if let Some(revision) = plan.due(now, leads(face))
            && (revision <= plan.last || compact(face, revision).await)
        {
            plan.done(now, revision);
        }
    }
}

/// Nothing goes in the first period; then what is older than one, every period or every hour.
#[derive(Debug)]
struct Periodic {
    period: Duration,
    /// When which revision was the newest.
    seen: VecDeque<(Duration, i64)>,
    /// The last one that was compacted.
    last: i64,
    next: Duration,
}

impl Periodic {
    /// Times count from now.
    fn new(period: Duration) -> Self {
        Self { period, seen: VecDeque::new(), last: 0, next: period }
    }

    /// Between two looks.
    fn pause(&self) -> Duration {
        self.period.min(PERIOD_MAX) / LOOKS
    }

    fn saw(&mut self, now: Duration, revision: i64) {
        self.seen.push_back((now, revision));
    }

    /// What is to be compacted now: the newest revision that was there a period ago.
    fn due(&mut self, now: Duration, leads: bool) -> Option<i64> {
        let mut old = None;
        while let Some((when, revision)) = self.seen.front().copied()
            && now.saturating_sub(when) >= self.period
        {
            old = Some((when, revision));
            self.seen.pop_front();
        }
        let (when, revision) = old?;
        if now < self.next || !leads {
            // It is the one to go to, later.
            self.seen.push_front((when, revision));
            return None;
        }
        Some(revision)
    }

    fn done(&mut self, now: Duration, revision: i64) {
        self.last = self.last.max(revision);
        self.next = now + self.period.min(PERIOD_MAX);
    }
}

fn leads(face: &EtcdFace) -> bool {
    face.node().status().leader == Some(face.node().node_id())
}

async fn compact(face: &EtcdFace, revision: i64) -> bool {
    match face.compact(revision, false).await {
        Ok(()) | Err(keelson_client::StoreError::Compacted) => {
            tracing::info!(revision, "completed auto compaction");
            true
        }
        Err(error) => {
            tracing::warn!(revision, %error, "failed auto compaction");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a store that has a revision a minute; what was compacted in which minute.
    fn compacted(
        period_minutes: u64,
        minutes: u64,
        leads: impl Fn(u64) -> bool,
    ) -> Vec<(u64, i64)> {
        let minute = Duration::from_secs(60);
        let mut plan = Periodic::new(minute * u32::try_from(period_minutes).unwrap());
        let (mut now, mut found) = (Duration::ZERO, Vec::new());
        while now < minute * u32::try_from(minutes).unwrap() {
            plan.saw(now, 1 + i64::try_from(now.as_secs() / 60).unwrap());
            now += plan.pause();
            if let Some(revision) = plan.due(now, leads(now.as_secs() / 60)) {
                found.push((now.as_secs() / 60, revision));
                plan.done(now, revision);
            }
        }
        found
    }

    // upstream: etcd v3, "Auto compaction", periodic
    #[test]
    fn a_short_period_compacts_each_time_to_what_is_that_old() {
        assert_eq!(compacted(10, 45, |_| true), [(10, 1), (20, 11), (30, 21), (40, 31)]);
        assert_eq!(compacted(10, 9, |_| true), []);
    }

    #[test]
    fn a_long_period_compacts_every_hour_from_then_on() {
        let times = compacted(180, 310, |_| true);
        assert_eq!(times, [(180, 1), (240, 61), (300, 121)]);
    }

    #[test]
    fn a_follower_compacts_once_it_leads() {
        let times = compacted(10, 40, |minute| minute >= 25);
        assert_eq!(times[0], (25, 16));
        assert_eq!(times[1], (35, 26));
    }

    // upstream: etcd v3, "Auto compaction", revision
    #[test]
    fn the_last_revisions_are_kept() {
        assert_eq!(beyond(1500, 1000, 0), Some(500));
        assert_eq!(beyond(1500, 1000, 500), None, "nothing came since");
        assert_eq!(beyond(1501, 1000, 500), Some(501));
        assert_eq!(beyond(900, 1000, 0), None);
        assert_eq!(beyond(1000, 1000, 0), None);
    }

    #[test]
    fn retention_is_hours_or_a_time_or_a_number() {
        let hours = |hours: u64| Ok(Some(Retention::Time(Duration::from_secs(hours * 3600))));
        assert_eq!(Retention::read("periodic", "5"), hours(5));
        assert_eq!(
            Retention::read("periodic", "5m"),
            Ok(Some(Retention::Time(Duration::from_secs(300))))
        );
        assert_eq!(Retention::read("revision", "1000"), Ok(Some(Retention::Revisions(1000))));
        assert_eq!(Retention::read("periodic", "0"), Ok(None));
        assert_eq!(Retention::read("revision", "0"), Ok(None));
        assert!(Retention::read("periodic", "x").is_err());
    }
}
