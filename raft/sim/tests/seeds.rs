//! Whole clusters under faults, a few seeds of them; `KEELSON_SEEDS=FROM..TO` tries others.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use keelson_sim::{Scenario, run};

fn check(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let scenario = Scenario { length: Duration::from_secs(8), ..Scenario::new(seed) };
        let report = run(&scenario)
            .unwrap_or_else(|failure| panic!("{failure}\n{}", failure.report.lines.join("\n")));
        assert!(report.answered > 50, "seed {seed}: clients did little: {report:#?}");
        println!(
            "seed {seed}: {} steps, {} of {} operations answered, {} faults",
            report.steps, report.answered, report.operations, report.faults
        );
    }
}

#[test]
fn nothing_is_broken_by_crashes_cuts_failing_disks_wrong_clocks_and_changed_members() {
    let seeds = std::env::var("KEELSON_SEEDS").ok();
    let range = seeds.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    check(range.unwrap_or(1..5));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let short = |seed| {
        let length = Duration::from_secs(4);
        let scenario = Scenario { length, trace: true, ..Scenario::new(seed) };
        run(&scenario).unwrap_or_else(|failure| panic!("{failure}"))
    };
    let (first, second, other) = (short(42), short(42), short(43));
    assert_eq!(first.lines.join("\n"), second.lines.join("\n"));
    assert_eq!(first, second);
    assert_ne!(first.trace, other.trace);
}

// upstream: etcd tests/robustness, issue 14370: a single member lost a write that it had answered
#[test]
fn a_single_member_loses_no_write_that_it_has_answered() {
    for seed in 1..3 {
        let length = Duration::from_secs(5);
        let scenario = Scenario { members: Some(1), length, ..Scenario::new(seed) };
        let report = run(&scenario).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.answered > 50, "seed {seed}: clients did little: {report:#?}");
    }
}
