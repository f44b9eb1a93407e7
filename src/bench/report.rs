//! Outcomes as a table or as JSON lines.

use comfy_table::{CellAlignment, Table, presets};

use super::load::{Outcome, Workload};

/// The word for a kind of request.
pub fn name(workload: Workload) -> &'static str {
    match workload {
        Workload::Put => "put",
        Workload::Create => "create",
        Workload::Get => "get",
        Workload::SerializableGet => "serializable-get",
    }
}

/// Prints a table.
pub fn table(outcomes: &[Outcome]) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "WORKLOAD",
        "CLIENTS",
        "PER SECOND",
        "P50 MS",
        "P99 MS",
        "MAX MS",
        "ERRORS",
        "SERVER CPU µS",
        "SERVER MIB",
    ]);
    for outcome in outcomes {
        let at = |quantile| millis(outcome.latency.value_at_quantile(quantile));
        table.add_row([
            name(outcome.workload).to_owned(),
            outcome.clients.to_string(),
            format!("{:.0}", outcome.rate()),
            at(0.5),
            at(0.99),
            millis(outcome.latency.max()),
            outcome.errors.to_string(),
            outcome.cpu_micros().map_or("-".to_owned(), |micros| format!("{micros:.1}")),
            outcome.server_memory.map_or("-".to_owned(), |bytes| (bytes >> 20).to_string()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

/// Prints one JSON object an outcome.
pub fn json(outcomes: &[Outcome]) {
    for outcome in outcomes {
        println!("{}", value(outcome));
    }
}

fn value(outcome: &Outcome) -> serde_json::Value {
    let at = |quantile| outcome.latency.value_at_quantile(quantile);
    serde_json::json!({
        "workload": name(outcome.workload),
        "clients": outcome.clients,
        "requests": outcome.requests,
        "errors": outcome.errors,
        "seconds": outcome.elapsed.as_secs_f64(),
        "perSecond": outcome.rate(),
        "latencyMicros": {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": outcome.latency.max()},
        "serverCpuMicrosPerRequest": outcome.cpu_micros(),
        "serverResidentBytes": outcome.server_memory,
    })
}

fn millis(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1000.0)
}
