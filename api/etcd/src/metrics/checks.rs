//! Health checks, as they ended.

use std::sync::atomic::{AtomicU64, Ordering};

use super::text::Text;
use crate::http::all_checks;

/// Results of all checks.
pub(super) struct Checks(Vec<Checked>);

/// Results of one.
#[derive(Default)]
struct Checked {
    /// 0: it has not run yet; 1: it failed; 2: it was well.
    last: AtomicU64,
    /// Failures and successes.
    ended: [AtomicU64; 2],
}

impl Checks {
    pub(super) fn new() -> Self {
        Self(all_checks().map(|_| Checked::default()).collect())
    }

    pub(super) fn ended(&self, group: &str, check: &str, ok: bool) {
        let index = all_checks().position(|one| one == (group, check));
        if let Some(checked) = index.and_then(|index| self.0.get(index)) {
            checked.last.store(1 + u64::from(ok), Ordering::Relaxed);
            checked.ended[usize::from(ok)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Of those that have run.
    pub(super) fn write(&self, out: &mut Text) {
        let run = || {
            all_checks().zip(&self.0).filter_map(|(named, checked)| {
                let last = checked.last.load(Ordering::Relaxed).checked_sub(1)?;
                Some((named, last, checked))
            })
        };
        let name = "etcd_server_healthcheck";
        out.head(name, "gauge", "The result of each kind of healthcheck.");
        for ((kind, check), last, _) in run() {
            out.line(name, &format!("name=\"{check}\",type=\"{kind}\""), last);
        }
        let name = "etcd_server_healthchecks_total";
        out.head(name, "counter", "The total number of each kind of healthcheck.");
        for ((kind, check), _, checked) in run() {
            for (status, count) in ["error", "success"].into_iter().zip(&checked.ended) {
                let labels = format!("name=\"{check}\",status=\"{status}\",type=\"{kind}\"");
                out.line(name, &labels, count.load(Ordering::Relaxed));
            }
        }
    }
}
