//! What `keelson sim` prints: a line a seed, the sum, and the story of a failure.

use std::time::Duration;

use keelson_sim::Report;

use super::Sum;

/// Of the last things before a failure, so many are shown whole.
const LAST_LINES: usize = 40;

/// One seed.
pub fn line(report: &Report) -> String {
    let head = report.lines.first().map_or("", |line| line.trim_start());
    let head = head.split_once(' ').map_or(head, |(_, text)| text);
    let head = head.split_once(", Sizes").map_or(head, |(text, _)| text);
    format!(
        "{head}: {:.1} s simulated, {} of {} operations answered, {} faults, trace {:016x}",
        report.time.as_secs_f64(),
        report.answered,
        report.operations,
        report.faults,
        report.trace
    )
}

/// All seeds.
pub fn sum(sum: &Sum) -> String {
    let hours = |time: Duration| time.as_secs_f64() / 3600.0;
    let seconds = sum.time.as_secs_f64().max(0.001);
    let cpu_hours = hours(sum.cpu).max(1e-9);
    format!(
        "{} seeds, no promise broken: {:.2} simulated hours in {:.1} s of CPU; {:.1} operations and \
         {:.2} faults a simulated second\na CPU hour: {:.0} simulated hours, {:.0} operations",
        sum.seeds,
        hours(sum.time),
        sum.cpu.as_secs_f64(),
        sum.operations as f64 / seconds,
        sum.faults as f64 / seconds,
        hours(sum.time) / cpu_hours,
        sum.operations as f64 / cpu_hours
    )
}

/// What led to a failure: what matters of all of it, and everything of its last moments.
pub fn story(whole: &[String], main: &[String]) -> String {
    let last = whole.len().saturating_sub(LAST_LINES);
    let from = whole.get(last).map_or("", String::as_str);
    let before: Vec<&str> =
        main.iter().map(String::as_str).take_while(|line| time(line) < time(from)).collect();
    let end: Vec<&str> = whole[last..].iter().map(String::as_str).collect();
    let text = |line: &&str| {
        let short: String = line.chars().take(240).collect();
        short
    };
    let lines: Vec<String> = before.iter().chain(&end).map(text).collect();
    lines.join("\n")
}

fn time(line: &str) -> f64 {
    let number = line.split_whitespace().next();
    number.and_then(|number| number.parse().ok()).unwrap_or(f64::MAX)
}
