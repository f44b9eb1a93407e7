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
        let revision = face.node().view().revision() - kept;
        if leads(face) && revision > last && compact(face, revision).await {
            last = revision;
        }
    }
}

/// Nothing goes in the first period; then what is older than one, every period or every hour.
async fn by_time(face: &EtcdFace, period: Duration) {
    let pause = period.min(PERIOD_MAX) / LOOKS;
    let mut seen: VecDeque<(Instant, i64)> = VecDeque::new();
    let (mut last, mut next) = (0, Instant::now() + period);
    loop {
        seen.push_back((Instant::now(), face.node().view().revision()));
        tokio::time::sleep(pause).await;
        let now = Instant::now();
        let mut old = None;
        while let Some((when, revision)) = seen.front().copied()
            && now.duration_since(when) >= period
        {
            old = Some(revision);
            seen.pop_front();
        }
        let Some(revision) = old else { continue };
        if now < next || !leads(face) {
            // The newest of the old ones is the one to go to, later.
            seen.push_front((now - period, revision));
            continue;
        }
        if revision > last && compact(face, revision).await {
            last = revision;
        }
        next = now + period.min(PERIOD_MAX);
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
