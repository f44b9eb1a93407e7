//! Kinds that extend and guard the server, and autoscalers.

use serde_json::{Value, json};

use super::cells::{age, count, flag, items, length, name, shown, text, text_or};
use crate::table::{AGE, Column, NAME, Printer, human_duration};

pub(crate) static HORIZONTAL_POD_AUTOSCALER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Reference"),
        Column::text("Targets"),
        Column::text("MinPods"),
        Column::text("MaxPods"),
        Column::text("Replicas"),
        AGE,
    ],
    cells: |object, now| {
        let target = format!(
            "{}/{}",
            text(object, "/spec/scaleTargetRef/kind"),
            text(object, "/spec/scaleTargetRef/name")
        );
        vec![
            name(object),
            json!(target),
            json!(metrics(object)),
            json!(shown(object, "/spec/minReplicas", "<unset>")),
            json!(count(object, "/spec/maxReplicas")),
            json!(count(object, "/status/currentReplicas")),
            age(object, now),
        ]
    },
};

/// The first two metrics: `cpu: 10%/80%`.
fn metrics(object: &Value) -> String {
    const SHOWN: usize = 2;
    let current: Vec<&Value> = items(object, "/status/currentMetrics").collect();
    let mut all: Vec<String> = items(object, "/spec/metrics")
        .enumerate()
        .map(|(at, metric)| metric_cell(metric, current.get(at).copied().unwrap_or(&Value::Null)))
        .collect();
    if let Some(target) = object.pointer("/spec/targetCPUUtilizationPercentage") {
        let now = object.pointer("/status/currentCPUUtilizationPercentage");
        let now = now.map_or("<unknown>".to_owned(), |n| format!("{n}%"));
        all.push(format!("cpu: {now}/{target}%"));
    }
    match all.len() {
        0 => "<none>".to_owned(),
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(", "), n - SHOWN),
        _ => all.join(", "),
    }
}

fn metric_cell(metric: &Value, current: &Value) -> String {
    let (field, resource) = match text(metric, "/type") {
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "External" => ("external", false),
        _ => return "<unknown type>".to_owned(),
    };
    let (target, now) = (&metric[field]["target"], &current[field]["current"]);
    let prefix =
        if resource { format!("{}: ", text(&metric[field], "/name")) } else { String::new() };
    let cell = |value: &Value, key: &str, unit: &str| match &value[key] {
        Value::Null => "<unknown>".to_owned(),
        Value::String(text) => text.clone(),
        other => format!("{other}{unit}"),
    };
    let (key, unit, tail) = if !target["averageValue"].is_null() {
        ("averageValue", "", if resource || field == "pods" { "" } else { " (avg)" })
    } else if resource {
        ("averageUtilization", "%", "")
    } else {
        ("value", "", "")
    };
    format!("{prefix}{}/{}{tail}", cell(now, key, unit), cell(target, key, unit))
}

pub(crate) static CERTIFICATE_SIGNING_REQUEST: Printer = Printer {
    columns: &[
        NAME,
        AGE,
        Column::text("SignerName"),
        Column::text("Requestor"),
        Column::text("RequestedDuration"),
        Column::text("Condition"),
    ],
    cells: |object, now| {
        let has = |kind: &str| items(object, "/status/conditions").any(|c| c["type"] == kind);
        let mut condition = match (has("Denied"), has("Approved")) {
            (true, _) => "Denied",
            (false, true) => "Approved",
            (false, false) => "Pending",
        }
        .to_owned();
        if has("Failed") {
            condition.push_str(",Failed");
        }
        if !text(object, "/status/certificate").is_empty() {
            condition.push_str(",Issued");
        }
        let seconds = object.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
        vec![
            name(object),
            age(object, now),
            json!(text_or(object, "/spec/signerName", "<none>")),
            json!(text(object, "/spec/username")),
            json!(seconds.map_or("<none>".to_owned(), human_duration)),
            json!(condition),
        ]
    },
};

pub(crate) static WEBHOOKS: Printer = Printer {
    columns: &[NAME, Column::count("Webhooks"), AGE],
    cells: |object, now| vec![name(object), json!(length(object, "/webhooks")), age(object, now)],
};

pub(crate) static VALIDATING_POLICY: Printer = Printer {
    columns: &[NAME, Column::count("Validations"), Column::text("ParamKind"), AGE],
    cells: |object, now| {
        let count = length(object, "/spec/validations");
        vec![name(object), json!(count), json!(param_kind(object)), age(object, now)]
    },
};

pub(crate) static MUTATING_POLICY: Printer = Printer {
    columns: &[NAME, Column::count("Mutations"), Column::text("ParamKind"), AGE],
    cells: |object, now| {
        let count = length(object, "/spec/mutations");
        vec![name(object), json!(count), json!(param_kind(object)), age(object, now)]
    },
};

pub(crate) static POLICY_BINDING: Printer = Printer {
    columns: &[NAME, Column::text("PolicyName"), Column::text("ParamRef"), AGE],
    cells: |object, now| {
        let parameters = match object.pointer("/spec/paramRef").filter(|p| !p.is_null()) {
            None => "<unset>".to_owned(),
            Some(p) => match (text(p, "/namespace"), text(p, "/name")) {
                ("", name) => format!("*/{name}"),
                (space, name) => format!("{space}/{name}"),
            },
        };
        vec![
            name(object),
            json!(text(object, "/spec/policyName")),
            json!(parameters),
            age(object, now),
        ]
    },
};

fn param_kind(object: &Value) -> String {
    match object.pointer("/spec/paramKind").filter(|p| !p.is_null()) {
        None => "<unset>".to_owned(),
        Some(p) => format!("{}/{}", text(p, "/apiVersion"), text(p, "/kind")),
    }
}

pub(crate) static API_SERVICE: Printer = Printer {
    columns: &[NAME, Column::text("Service"), Column::text("Available"), AGE],
    cells: |object, now| {
        let service = match object.pointer("/spec/service").filter(|s| !s.is_null()) {
            None => "Local".to_owned(),
            Some(s) => format!("{}/{}", text(s, "/namespace"), text(s, "/name")),
        };
        let found = items(object, "/status/conditions").find(|c| c["type"] == "Available");
        let available = match found {
            None => "Unknown".to_owned(),
            Some(c) if c["status"] == "True" => "True".to_owned(),
            Some(c) => format!("{} ({})", text(c, "/status"), text(c, "/reason")),
        };
        vec![name(object), json!(service), json!(available), age(object, now)]
    },
};

pub(crate) static FLOW_SCHEMA: Printer = Printer {
    columns: &[
        NAME,
        Column::text("PriorityLevel"),
        Column::text("MatchingPrecedence"),
        Column::text("DistinguisherMethod"),
        AGE,
        Column::text("MissingPL"),
    ],
    cells: |object, now| {
        let dangling = items(object, "/status/conditions").find(|c| c["type"] == "Dangling");
        vec![
            name(object),
            json!(text(object, "/spec/priorityLevelConfiguration/name")),
            json!(count(object, "/spec/matchingPrecedence")),
            json!(text_or(object, "/spec/distinguisherMethod/type", "<none>")),
            age(object, now),
            json!(dangling.map_or("?", |c| text(c, "/status"))),
        ]
    },
};

pub(crate) static PRIORITY_LEVEL: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Type"),
        Column::text("NominalConcurrencyShares"),
        Column::text("Queues"),
        Column::text("HandSize"),
        Column::text("QueueLengthLimit"),
        AGE,
    ],
    cells: |object, now| {
        let cell = |pointer: &str| match object.pointer(pointer) {
            None | Some(Value::Null) => json!("<none>"),
            Some(value) => value.clone(),
        };
        let queuing = "/spec/limited/limitResponse/queuing";
        vec![
            name(object),
            json!(text(object, "/spec/type")),
            cell("/spec/limited/nominalConcurrencyShares"),
            cell(&format!("{queuing}/queues")),
            cell(&format!("{queuing}/handSize")),
            cell(&format!("{queuing}/queueLengthLimit")),
            age(object, now),
        ]
    },
};

pub(crate) static RESOURCE_CLAIM: Printer = Printer {
    columns: &[NAME, Column::text("State"), AGE],
    cells: |object, now| {
        let deleted = !object["metadata"]["deletionTimestamp"].is_null();
        let allocated = object.pointer("/status/allocation").is_some_and(|a| !a.is_null());
        let mut states = Vec::new();
        if deleted {
            states.push("deleted");
        }
        if allocated {
            states.push("allocated");
            if length(object, "/status/reservedFor") > 0 {
                states.push("reserved");
            }
        } else if !deleted {
            states.push("pending");
        }
        vec![name(object), json!(states.join(",")), age(object, now)]
    },
};

pub(crate) static RESOURCE_SLICE: Printer = Printer {
    columns: &[NAME, Column::text("Node"), Column::text("Driver"), Column::text("Pool"), AGE],
    cells: |object, now| {
        let node = match flag(object, "/spec/allNodes", false) {
            true => "<all nodes>",
            false => text_or(object, "/spec/nodeName", "<unset>"),
        };
        vec![
            name(object),
            json!(node),
            json!(text(object, "/spec/driver")),
            json!(text(object, "/spec/pool/name")),
            age(object, now),
        ]
    },
};
