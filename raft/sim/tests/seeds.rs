//! Whole clusters under faults, a few seeds of them; `KEELSON_SEEDS=FROM..TO` tries others.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use keelson_sim::{Scenario, run};

fn check(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let scenario = Scenario { duration: Duration::from_secs(5), ..Scenario::new(seed) };
        let report = run(scenario).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.answered > 100, "seed {seed}: clients did little: {report:#?}");
        println!(
            "seed {seed}: {} steps, {} operations answered, {} unknown, {} events",
            report.steps,
            report.answered,
            report.unknown,
            report.events.len()
        );
    }
}

#[test]
fn what_clients_see_is_linearizable_through_crashes_cuts_and_failing_disks() {
    let seeds = std::env::var("KEELSON_SEEDS").ok();
    let range = seeds.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    check(range.unwrap_or(1..3));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let short = |seed| Scenario { duration: Duration::from_secs(2), ..Scenario::new(seed) };
    let digest = |seed| match run(short(seed)) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    };
    let (first, second, other) = (digest(42), digest(42), digest(43));
    assert_eq!(first, second);
    assert_ne!(first.trace, other.trace);
}

// upstream: etcd tests/robustness, issue 14370: a single member lost a write that it had answered
#[test]
fn a_single_member_loses_no_write_that_it_has_answered() {
    for seed in 1..3 {
        let duration = Duration::from_secs(5);
        let scenario = Scenario { members: 1, duration, ..Scenario::new(seed) };
        let report = run(scenario).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.answered > 50, "seed {seed}: clients did little: {report:#?}");
    }
}
