//! Events, of either API.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells::{count, name, text};
use crate::table::{Column, Printer, since};

pub(crate) static EVENT: Printer = Printer {
    columns: &[
        Column::text("Last Seen"),
        Column::text("Type"),
        Column::text("Reason"),
        Column::text("Object"),
        Column::text("Subobject").wide(),
        Column::text("Source").wide(),
        Column::text("Message"),
        Column::text("First Seen").wide(),
        Column::text("Count").wide(),
        Column { format: "name", ..Column::text("Name").wide() },
    ],
    cells,
};

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let either = |core: &str, new: &str| {
        let found = event.get(core).filter(|v| !v.is_null());
        found.or_else(|| event.get(new)).cloned().unwrap_or_default()
    };
    let object = either("involvedObject", "regarding");
    let first_time = either("firstTimestamp", "deprecatedFirstTimestamp");
    let last_time = either("lastTimestamp", "deprecatedLastTimestamp");
    let first = match first_time {
        Value::Null => since(&event["eventTime"], now),
        time => since(&time, now),
    };
    let mut last = match last_time {
        Value::Null => first.clone(),
        time => since(&time, now),
    };
    let mut times = either("count", "deprecatedCount").as_i64().unwrap_or(0).max(1);
    if let Some(series) = event.get("series").filter(|s| !s.is_null()) {
        last = since(&series["lastObservedTime"], now);
        times = count(series, "/count");
    }
    let kind = text(&object, "/kind").to_lowercase();
    let target = match text(&object, "/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let message = either("message", "note");
    vec![
        json!(last),
        json!(text(event, "/type")),
        json!(text(event, "/reason")),
        json!(target),
        json!(text(&object, "/fieldPath")),
        json!(source(event, &either("source", "deprecatedSource"))),
        json!(message.as_str().unwrap_or_default().trim()),
        json!(first),
        json!(times),
        name(event),
    ]
}

fn source(event: &Value, source: &Value) -> String {
    let or = |a: &str, b: &str| if a.is_empty() { b.to_owned() } else { a.to_owned() };
    let controller = or(text(event, "/reportingComponent"), text(event, "/reportingController"));
    let component = or(text(source, "/component"), &controller);
    match or(text(source, "/host"), text(event, "/reportingInstance")) {
        host if host.is_empty() => component,
        host => format!("{component}, {host}"),
    }
}
