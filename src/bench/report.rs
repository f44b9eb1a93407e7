//! Outcomes as a table or as JSON lines.

use comfy_table::{CellAlignment, Table, presets};

use super::load::Outcome;

/// Prints a table.
pub fn table(outcomes: &[Outcome]) {
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
    for outcome in outcomes {
        let tally = &outcome.tally;
        let mib = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |b| (b >> 20).to_string());
        table.add_row([
            outcome.workload.name(),
            outcome.clients.to_string(),
            outcome.connections.to_string(),
            format!("{:.0}", outcome.rate()),
            format!("{:.2}", outcome.millis(0.5)),
            format!("{:.2}", outcome.millis(0.99)),
            format!("{:.2}", outcome.millis(1.0)),
            tally.errors.to_string(),
            outcome.server_micros().map_or("-".to_owned(), |micros| format!("{micros:.1}")),
            mib(outcome.took.server_memory),
            mib(outcome.took.server_peak),
            format!("{:.1}", outcome.client_micros()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    for outcome in outcomes {
        warn(outcome);
    }
}

/// Prints one JSON object an outcome.
pub fn json(outcomes: &[Outcome]) {
    for outcome in outcomes {
        println!("{}", value(outcome));
        warn(outcome);
    }
}

/// Says on stderr what makes an outcome doubtful.
pub(crate) fn warn(outcome: &Outcome) {
    let (name, tally) = (outcome.workload.name(), &outcome.tally);
    if let Some(first) = &tally.first_error {
        eprintln!("warning: {name}: {} requests failed; the first: {first}", tally.errors);
    }
    if tally.unsent > 0 {
        let unsent = tally.unsent;
        eprintln!("warning: {name}: the server did not keep up; {unsent} due requests never sent");
    }
}

fn value(outcome: &Outcome) -> serde_json::Value {
    let (tally, took) = (&outcome.tally, &outcome.took);
    let at = |quantile| tally.latency.value_at_quantile(quantile);
    serde_json::json!({
        "workload": outcome.workload.name(),
        "clients": outcome.clients,
        "connections": outcome.connections,
        "askedPerSecond": outcome.asked_rate,
        "requests": outcome.requests(),
        "errors": tally.errors,
        "firstError": tally.first_error,
        "unsent": tally.unsent,
        "seconds": took.elapsed.as_secs_f64(),
        "perSecond": outcome.rate(),
        "latencyMicros": {
            "mean": tally.latency.mean(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
            "p999": at(0.999), "max": tally.latency.max(),
        },
        "serverCpuMicrosPerRequest": outcome.server_micros(),
        "serverResidentBytes": took.server_memory,
        "serverPeakResidentBytes": took.server_peak,
        "clientCpuMicrosPerRequest": outcome.client_micros(),
    })
}
