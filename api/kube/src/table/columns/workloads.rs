//! Workloads: what makes pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells::{
    age, containers, count, flag, items, labels, length, name, selector, selector_or_none, shown,
    text, text_or,
};
use crate::table::{AGE, Column, NAME, Printer, human_duration, since};

const CONTAINERS: Column = Column::text("Containers").wide();
const IMAGES: Column = Column::text("Images").wide();
const SELECTOR: Column = Column::text("Selector").wide();
const TEMPLATE: &str = "/spec/template/spec/containers";

pub(crate) static DEPLOYMENT: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Ready"),
        Column::text("Up-to-date"),
        Column::text("Available"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let first = vec![
            ready(object),
            json!(count(object, "/status/updatedReplicas")),
            json!(count(object, "/status/availableReplicas")),
        ];
        row(object, now, first, TEMPLATE, Some(selector(&object["spec"]["selector"])))
    },
};

const REPLICAS: &[Column] = &[
    NAME,
    Column::count("Desired"),
    Column::count("Current"),
    Column::count("Ready"),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(crate) static REPLICA_SET: Printer = Printer {
    columns: REPLICAS,
    cells: |object, now| replicas(object, now, selector_or_none(&object["spec"]["selector"])),
};

pub(crate) static REPLICATION_CONTROLLER: Printer = Printer {
    columns: REPLICAS,
    cells: |object, now| replicas(object, now, labels(object.pointer("/spec/selector"))),
};

pub(crate) static STATEFUL_SET: Printer = Printer {
    columns: &[NAME, Column::text("Ready"), AGE, CONTAINERS, IMAGES],
    cells: |object, now| row(object, now, vec![ready(object)], TEMPLATE, None),
};

pub(crate) static DAEMON_SET: Printer = Printer {
    columns: &[
        NAME,
        Column::count("Desired"),
        Column::count("Current"),
        Column::count("Ready"),
        Column::count("Up-to-date"),
        Column::count("Available"),
        Column::text("Node Selector"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let status = |field: &str| json!(count(object, &format!("/status/{field}")));
        let first = vec![
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            json!(labels(object.pointer("/spec/template/spec/nodeSelector"))),
        ];
        let selector = selector_or_none(&object["spec"]["selector"]);
        row(object, now, first, TEMPLATE, Some(selector))
    },
};

pub(crate) static JOB: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Status"),
        Column::text("Completions"),
        Column::text("Duration"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: job,
};

pub(crate) static CRON_JOB: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Schedule"),
        Column::text("Timezone"),
        Column { kind: "boolean", ..Column::text("Suspend") },
        Column::count("Active"),
        Column::text("Last Schedule"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let last = match &object["status"]["lastScheduleTime"] {
            Value::Null => "<none>".to_owned(),
            time => since(time, now),
        };
        let suspend = if flag(object, "/spec/suspend", false) { "True" } else { "False" };
        let first = vec![
            json!(text(object, "/spec/schedule")),
            json!(text_or(object, "/spec/timeZone", "<none>")),
            json!(suspend),
            json!(length(object, "/status/active")),
            json!(last),
        ];
        let template = "/spec/jobTemplate/spec/template/spec/containers";
        let selector = selector_or_none(&object["spec"]["jobTemplate"]["spec"]["selector"]);
        row(object, now, first, template, Some(selector))
    },
};

pub(crate) static POD_DISRUPTION_BUDGET: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Min Available"),
        Column::text("Max Unavailable"),
        Column::count("Allowed Disruptions"),
        AGE,
    ],
    cells: |object, now| {
        vec![
            name(object),
            json!(shown(object, "/spec/minAvailable", "N/A")),
            json!(shown(object, "/spec/maxUnavailable", "N/A")),
            json!(count(object, "/status/disruptionsAllowed")),
            age(object, now),
        ]
    },
};

pub(crate) static CONTROLLER_REVISION: Printer = Printer {
    columns: &[NAME, Column::text("Controller"), Column::count("Revision"), AGE],
    cells: |object, now| {
        let owner = items(object, "/metadata/ownerReferences").find(|o| o["controller"] == true);
        let controller = owner.map_or("<none>".to_owned(), |o| {
            let kind = text(o, "/kind").to_lowercase();
            let name = text(o, "/name");
            match text(o, "/apiVersion").split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{name}"),
                None => format!("{kind}/{name}"),
            }
        });
        vec![name(object), json!(controller), json!(count(object, "/revision")), age(object, now)]
    },
};

pub(crate) static POD_TEMPLATE: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Containers"),
        Column::text("Images"),
        Column::text("Pod Labels"),
    ],
    cells: |object, _| {
        let [names, images] = containers(object, "/template/spec/containers");
        vec![
            name(object),
            names,
            images,
            json!(labels(object.pointer("/template/metadata/labels"))),
        ]
    },
};

/// Name, the workload's own cells, age; then what the wide form adds: containers, images, selector.
fn row(
    object: &Value,
    now: Timestamp,
    own: Vec<Value>,
    template: &str,
    selector: Option<String>,
) -> Vec<Value> {
    let mut cells = vec![name(object)];
    cells.extend(own);
    cells.push(age(object, now));
    cells.extend(containers(object, template));
    cells.extend(selector.map(Value::from));
    cells
}

fn ready(object: &Value) -> Value {
    let (ready, wanted) = (count(object, "/status/readyReplicas"), count(object, "/spec/replicas"));
    json!(format!("{ready}/{wanted}"))
}

fn replicas(object: &Value, now: Timestamp, selector: String) -> Vec<Value> {
    let first = vec![
        json!(count(object, "/spec/replicas")),
        json!(count(object, "/status/replicas")),
        json!(count(object, "/status/readyReplicas")),
    ];
    row(object, now, first, TEMPLATE, Some(selector))
}

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let done = count(object, "/status/succeeded");
    let completions = match object["spec"]["completions"].as_i64() {
        Some(wanted) => format!("{done}/{wanted}"),
        None => match count(object, "/spec/parallelism") {
            parallelism @ 2.. => format!("{done}/1 of {parallelism}"),
            _ => format!("{done}/1"),
        },
    };
    let first =
        vec![json!(job_status(object)), json!(completions), json!(job_duration(object, now))];
    row(object, now, first, TEMPLATE, Some(selector_or_none(&object["spec"]["selector"])))
}

fn job_status(object: &Value) -> &'static str {
    let has = |kind: &str| {
        items(object, "/status/conditions").any(|c| c["type"] == kind && c["status"] == "True")
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if !object["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn job_duration(object: &Value, now: Timestamp) -> String {
    let time = |field: &str| text(object, &format!("/status/{field}")).parse::<Timestamp>().ok();
    match time("startTime") {
        None => String::new(),
        Some(start) => {
            let end = time("completionTime").unwrap_or(now);
            human_duration(end.as_second() - start.as_second())
        }
    }
}
