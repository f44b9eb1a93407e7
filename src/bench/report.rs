//! Outcomes as a table or as JSON lines.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::outcome::Outcome;
use super::plot::{Plot, Scale};
use super::tally::Tally;

/// Prints a table.
pub(crate) fn table(outcomes: &[Outcome]) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "WORKLOAD",
        "CLIENTS",
        "CONNECTIONS",
        "PER SECOND",
        "P50 MS",
        "P99 MS",
        "MAX MS",
        "ERRORS",
        "SERVER CPU µS",
        "SERVER MIB",
        "PEAK MIB",
        "CLIENT CPU µS",
    ]);
    let micros = |micros: f64| format!("{micros:.*}", if micros < 10.0 { 2 } else { 1 });
    let mib = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |b| (b >> 20).to_string());
    for outcome in outcomes {
        let mut row = vec![
            outcome.name.clone(),
            outcome.clients.to_string(),
            outcome.connections.to_string(),
        ];
        if outcome.skipped() {
            row.push("skipped".to_owned());
        } else {
            row.extend([
                format!("{:.0}", outcome.rate()),
                format!("{:.2}", outcome.millis(0.5)),
                format!("{:.2}", outcome.millis(0.99)),
                format!("{:.2}", outcome.millis(1.0)),
                outcome.errors().to_string(),
                outcome.server_micros().map_or("-".to_owned(), micros),
                mib(outcome.took.server_memory),
                mib(outcome.took.server_peak),
                micros(outcome.client_micros()),
            ]);
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    outcomes.iter().for_each(note);
}

/// Prints one JSON object an outcome.
pub(crate) fn json(outcomes: &[Outcome]) {
    for outcome in outcomes {
        println!("{}", value(outcome));
        warn(outcome);
    }
}

/// Says what the table has no column for.
fn note(outcome: &Outcome) {
    if let Some(streams) = outcome.streams {
        println!(
            "{} × {}: {} streams; {:.0} puts a second, each {:.1} µs of server CPU",
            outcome.name,
            outcome.clients,
            streams,
            outcome.per_second(outcome.tally.latency.len()),
            outcome.server_micros_a_request().unwrap_or(f64::NAN),
        );
    } else if outcome.tally.events > 0 {
        let events = outcome.per_second(outcome.tally.events);
        println!("{} × {}: {events:.0} events a second", outcome.name, outcome.clients);
    }
    if let Some(slow) = &outcome.slow {
        let p99 = slow.latency.value_at_quantile(0.99) as f64 / 1000.0;
        println!("slow streams: {} events, the p99 {p99:.2} ms after their put", slow.events);
    }
    warn(outcome);
}

/// Says on stderr what makes an outcome doubtful.
pub(crate) fn warn(outcome: &Outcome) {
    let name = &outcome.name;
    if outcome.skipped() {
        eprintln!("{name}: skipped: the server does not have this method");
        return;
    }
    for tally in [Some(&outcome.tally), outcome.events.as_ref()].into_iter().flatten() {
        if let Some(first) = &tally.first_error {
            eprintln!("warning: {name}: {} requests failed; the first: {first}", tally.errors);
        }
    }
    if outcome.tally.unsent > 0 {
        let unsent = outcome.tally.unsent;
        eprintln!("warning: {name}: the server did not keep up; {unsent} due requests never sent");
    }
}

/// One outcome as JSON.
pub(crate) fn value(outcome: &Outcome) -> Value {
    let (tally, took) = (&outcome.tally, &outcome.took);
    let errors = outcome.events.as_ref().and_then(|events| events.first_error.clone());
    json!({
        "workload": outcome.name,
        "clients": outcome.clients,
        "connections": outcome.connections,
        "streams": outcome.streams,
        "skipped": outcome.skipped(),
        "askedPerSecond": outcome.asked_rate,
        "seconds": took.elapsed.as_secs_f64(),
        "requests": tally.latency.len(),
        "requestsPerSecond": outcome.per_second(tally.latency.len()),
        "errors": outcome.errors(),
        "firstError": tally.first_error.clone().or(errors),
        "unsent": tally.unsent,
        "latencyMicros": latency(tally),
        "events": outcome.events.as_ref().map_or(tally.events, |events| events.events),
        "eventsPerSecond": outcome.events.as_ref().map(|events| outcome.per_second(events.events)),
        "eventLatencyMicros": outcome.events.as_ref().map(latency),
        "slowEvents": outcome.slow.as_ref().map(|slow| slow.events),
        "slowEventLatencyMicros": outcome.slow.as_ref().map(latency),
        "serverCpuMicrosPerRequest": outcome.server_micros_a_request(),
        "serverCpuMicrosPerEvent": outcome.events.as_ref().and(outcome.server_micros()),
        "serverResidentBytes": took.server_memory,
        "serverPeakResidentBytes": took.server_peak,
        "clientCpuSeconds": took.client_cpu.as_secs_f64(),
        "clientCpuMicros": outcome.client_micros(),
    })
}

/// Charts of the outcomes.
pub(crate) fn plots(outcomes: &[Outcome]) -> Vec<Plot> {
    let done: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.skipped()).collect();
    let label = |outcome: &Outcome| format!("{} × {}", outcome.name, outcome.clients);
    let plot =
        |title: &str, scale, series: &[&str], of: &dyn Fn(&Outcome) -> Vec<Option<f64>>| Plot {
            title: title.to_owned(),
            scale,
            series: series.iter().map(|name| (*name).to_owned()).collect(),
            rows: done.iter().map(|outcome| (label(outcome), of(outcome))).collect(),
        };
    vec![
        plot("done a second", Scale::Log, &["per second"], &|outcome| vec![Some(outcome.rate())]),
        plot(
            "latency, ms (logarithmic)",
            Scale::Log,
            &["p50", "p90", "p99", "p99.9"],
            &|outcome| [0.5, 0.9, 0.99, 0.999].map(|at| Some(outcome.millis(at))).to_vec(),
        ),
        plot("CPU each, µs (logarithmic)", Scale::Log, &["servers", "load tool"], &|outcome| {
            vec![outcome.server_micros(), Some(outcome.client_micros())]
        }),
    ]
}

fn latency(tally: &Tally) -> Value {
    let at = |quantile| tally.latency.value_at_quantile(quantile);
    json!({
        "mean": tally.latency.mean(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
        "p999": at(0.999), "max": tally.latency.max(),
    })
}
