//! How a member's log is synced, as its metrics tell: how many syncs there were and how long they
//! took, and those that held it up. Etcd's metrics have the same names.

use std::time::Duration;

use keelson_check::Line;

use super::record::Record;
use crate::store::timeline;

/// The histogram of syncs.
const SYNCS: &str = "etcd_disk_wal_fsync_duration_seconds";
/// What takes longer is a stall: one of the histogram's limits.
const QUICK: &str = "_bucket{le=\"0.128\"}";
/// How long the metrics may take.
const TELL_MAX: Duration = Duration::from_millis(500);

/// The syncs of one member, looked at again and again.
pub struct Syncs {
    member: String,
    endpoint: String,
    record: Record,
    last: Seen,
}

/// What there was so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    at: u64,
    count: u64,
    micros: u64,
    quick: u64,
}

impl Syncs {
    /// Of a member of this name and client URL.
    pub fn new(member: String, endpoint: String, record: Record) -> Self {
        Self { member, endpoint, record, last: Seen::default() }
    }

    /// Writes down what has been since the last look.
    pub async fn look(&mut self) {
        let page = timeline::page(&self.endpoint, "/metrics", None);
        let Ok(Ok(page)) = tokio::time::timeout(TELL_MAX, page).await else { return };
        let Some(seen) = read(&String::from_utf8_lossy(&page), self.record.now()) else { return };
        let last = std::mem::replace(&mut self.last, seen);
        for line in lines(&self.member, last, seen) {
            self.record.write(line);
        }
    }
}

fn read(page: &str, at: u64) -> Option<Seen> {
    let value = |what: &str| -> Option<f64> {
        let line = page.lines().find_map(|line| line.strip_prefix(SYNCS)?.strip_prefix(what))?;
        line.trim().parse().ok()
    };
    let micros = Duration::try_from_secs_f64(value("_sum")?).ok()?.as_micros();
    let count = |value: f64| value as u64;
    Some(Seen {
        at,
        count: count(value("_count")?),
        micros: u64::try_from(micros).ok()?,
        quick: count(value(QUICK)?),
    })
}

/// What happened between two looks.
fn lines(member: &str, last: Seen, seen: Seen) -> Vec<Line> {
    // Who was started again counts anew.
    let anew = seen.count < last.count || seen.micros < last.micros;
    let last = if anew { Seen { at: last.at, ..Seen::default() } } else { last };
    let count = seen.count - last.count;
    let micros = seen.micros - last.micros;
    let slow = count.saturating_sub(seen.quick.saturating_sub(last.quick));
    let (member, until) = (member.to_owned(), seen.at);
    if count == 0 {
        return Vec::new();
    }
    let syncs = Line::Syncs { at: last.at, until, member: member.clone(), count, micros };
    if slow == 0 {
        return vec![syncs];
    }
    let took = format!("{:.1} s", micros as f64 / 1e6);
    let what = match slow {
        1 => format!("a sync of its log took {took}"),
        _ => format!("{slow} syncs of its log took {took}"),
    };
    vec![syncs, Line::Stall { at: until.saturating_sub(micros), until, member, what }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(count: u64, seconds: f64, quick: u64) -> String {
        format!(
            "# HELP {SYNCS} x\n{SYNCS}_bucket{{le=\"0.064\"}} 1\n{SYNCS}{QUICK} {quick}\n\
             {SYNCS}_bucket{{le=\"+Inf\"}} {count}\n{SYNCS}_sum {seconds}\n{SYNCS}_count {count}\n"
        )
    }

    #[test]
    fn a_slow_sync_is_a_stall_and_a_new_process_counts_anew() {
        let first = read(&page(10, 0.02, 10), 1_000_000).unwrap();
        let second = read(&page(12, 2.92, 11), 4_000_000).unwrap();
        let [Line::Syncs { count: 2, micros: 2_900_000, .. }, Line::Stall { at, until, what, .. }] =
            &lines("m1", first, second)[..]
        else {
            panic!("{:?}", lines("m1", first, second));
        };
        assert_eq!((*at, *until), (1_100_000, 4_000_000));
        assert_eq!(what, "a sync of its log took 2.9 s");
        let third = read(&page(3, 0.003, 3), 5_000_000).unwrap();
        let [Line::Syncs { at: 4_000_000, count: 3, micros: 3000, .. }] =
            &lines("m1", second, third)[..]
        else {
            panic!("{:?}", lines("m1", second, third));
        };
        assert!(lines("m1", third, third).is_empty());
        assert_eq!(read("etcd_other 1\n", 1), None);
    }
}
