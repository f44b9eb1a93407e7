//! Metrics of requests, in the names and labels of kube-apiserver.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::Caches;

/// Upper bounds of the duration histogram, in seconds.
const BUCKETS: &[f64] =
    &[0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 60.0];

/// Verb, group, version, resource.
pub(crate) type Key = (String, String, String, String);

#[derive(Default)]
struct Durations {
    buckets: [u64; 16],
    count: u64,
    seconds: f64,
}

/// Counts requests.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(Key, u16), u64>>,
    durations: Mutex<BTreeMap<Key, Durations>>,
}

impl Metrics {
    /// Notes one answered request.
    pub(crate) fn request(&self, key: &Key, code: u16, took: Duration) {
        let key = key.clone();
        *self.requests.lock().entry((key.clone(), code)).or_default() += 1;
        if key.0 == "watch" {
            return;
        }
        let mut durations = self.durations.lock();
        let entry = durations.entry(key).or_default();
        let seconds = took.as_secs_f64();
        entry.count += 1;
        entry.seconds += seconds;
        for (bound, bucket) in BUCKETS.iter().zip(&mut entry.buckets) {
            *bucket += u64::from(seconds <= *bound);
        }
    }

    /// The text exposition.
    pub(crate) fn text(&self, caches: &Caches) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _infallible = self.write(&mut out, caches);
        out
    }

    fn write(&self, out: &mut String, caches: &Caches) -> std::fmt::Result {
        writeln!(
            out,
            "# HELP apiserver_request_total [STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.\n# TYPE apiserver_request_total counter"
        )?;
        for (((verb, group, version, resource), code), count) in self.requests.lock().iter() {
            let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
            writeln!(
                out,
                "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",group=\"{}\",resource=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"}} {count}",
                escape(group),
                escape(resource),
                escape(sub),
                escape(&verb.to_uppercase()),
                escape(version)
            )?;
        }
        writeln!(
            out,
            "# HELP apiserver_request_duration_seconds [STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.\n# TYPE apiserver_request_duration_seconds histogram"
        )?;
        for ((verb, group, version, resource), d) in self.durations.lock().iter() {
            let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
            let labels = format!(
                "component=\"apiserver\",group=\"{}\",resource=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
                escape(group),
                escape(resource),
                escape(sub),
                escape(&verb.to_uppercase()),
                escape(version)
            );
            let name = "apiserver_request_duration_seconds";
            for (bound, bucket) in BUCKETS.iter().zip(&d.buckets) {
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {bucket}")?;
            }
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", d.count)?;
            writeln!(out, "{name}_sum{{{labels}}} {}", d.seconds)?;
            writeln!(out, "{name}_count{{{labels}}} {}", d.count)?;
        }
        writeln!(
            out,
            "# HELP apiserver_resource_objects [STABLE] Number of stored objects at the time of last check split by kind.\n# TYPE apiserver_resource_objects gauge"
        )?;
        for (prefix, cache) in caches.all() {
            writeln!(out, "apiserver_resource_objects{{resource=\"{prefix}\"}} {}", cache.len())?;
        }
        Ok(())
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
