//! Small kinds of the core group and of access control.

use serde_json::{Value, json};

use super::cells::{age, count, flag, items, length, name, selector_or_none, text};
use crate::table::{AGE, Column, NAME, Printer};

/// A name and an age.
pub(crate) static PLAIN: Printer =
    Printer { columns: &[NAME, AGE], cells: |object, now| vec![name(object), age(object, now)] };

pub(crate) static NAMESPACE: Printer = Printer {
    columns: &[NAME, Column::text("Status"), AGE],
    cells: |object, now| vec![name(object), json!(text(object, "/status/phase")), age(object, now)],
};

pub(crate) static CONFIG_MAP: Printer = Printer {
    columns: &[NAME, Column::text("Data"), AGE],
    cells: |object, now| {
        let entries = length(object, "/data") + length(object, "/binaryData");
        vec![name(object), json!(entries), age(object, now)]
    },
};

pub(crate) static SECRET: Printer = Printer {
    columns: &[NAME, Column::text("Type"), Column::text("Data"), AGE],
    cells: |object, now| {
        let kind = text(object, "/type");
        vec![name(object), json!(kind), json!(length(object, "/data")), age(object, now)]
    },
};

pub(crate) static COMPONENT_STATUS: Printer = Printer {
    columns: &[NAME, Column::text("Status"), Column::text("Message"), Column::text("Error")],
    cells: |object, _| {
        let healthy = items(object, "/conditions").find(|c| c["type"] == "Healthy");
        let cell = |field: &str| json!(healthy.map_or("", |c| text(c, field)));
        let status = match healthy.map(|c| text(c, "/status")) {
            Some("True") => "Healthy",
            Some("False") => "Unhealthy",
            _ => "Unknown",
        };
        vec![name(object), json!(status), cell("/message"), cell("/error")]
    },
};

pub(crate) static RESOURCE_QUOTA: Printer = Printer {
    columns: &[NAME, Column::text("Request"), Column::text("Limit"), AGE],
    cells: |object, now| {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let hard = object.pointer("/status/hard").and_then(Value::as_object);
        let mut hard: Vec<_> = hard.into_iter().flatten().collect();
        hard.sort_by_key(|(resource, _)| resource.as_str());
        for (resource, most) in hard {
            let used = object["status"]["used"][resource.as_str()].as_str().unwrap_or("0");
            let cell = format!("{resource}: {used}/{}", most.as_str().unwrap_or("0"));
            if resource.starts_with("limits.") { &mut limits } else { &mut requests }.push(cell);
        }
        vec![name(object), json!(requests.join(", ")), json!(limits.join(", ")), age(object, now)]
    },
};

pub(crate) static ROLE_BINDING: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Role"),
        AGE,
        Column::text("Users").wide(),
        Column::text("Groups").wide(),
        Column::text("ServiceAccounts").wide(),
    ],
    cells: |object, now| {
        let role = format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name"));
        let subjects = |kind: &str| {
            let all = items(object, "/subjects").filter(|s| s["kind"] == kind).map(|s| {
                match (kind, text(s, "/namespace")) {
                    ("ServiceAccount", space) if !space.is_empty() => {
                        format!("{space}/{}", text(s, "/name"))
                    }
                    _ => text(s, "/name").to_owned(),
                }
            });
            json!(all.collect::<Vec<_>>().join(", "))
        };
        vec![
            name(object),
            json!(role),
            age(object, now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    },
};

pub(crate) static LEASE: Printer = Printer {
    columns: &[NAME, Column::text("Holder"), AGE],
    cells: |object, now| {
        vec![name(object), json!(text(object, "/spec/holderIdentity")), age(object, now)]
    },
};

pub(crate) static PRIORITY_CLASS: Printer = Printer {
    columns: &[
        NAME,
        Column::count("Value"),
        Column { kind: "boolean", ..Column::text("Global-Default") },
        AGE,
        Column::text("PreemptionPolicy").wide(),
    ],
    cells: |object, now| {
        vec![
            name(object),
            json!(count(object, "/value")),
            json!(flag(object, "/globalDefault", false)),
            age(object, now),
            json!(text(object, "/preemptionPolicy")),
        ]
    },
};

pub(crate) static RUNTIME_CLASS: Printer = Printer {
    columns: &[NAME, Column::text("Handler"), AGE],
    cells: |object, now| vec![name(object), json!(text(object, "/handler")), age(object, now)],
};

pub(crate) static NETWORK_POLICY: Printer = Printer {
    columns: &[NAME, Column::text("Pod-Selector"), AGE],
    cells: |object, now| {
        vec![
            name(object),
            json!(selector_or_none(&object["spec"]["podSelector"])),
            age(object, now),
        ]
    },
};

pub(crate) static INGRESS_CLASS: Printer = Printer {
    columns: &[NAME, Column::text("Controller"), Column::text("Parameters"), AGE],
    cells: |object, now| {
        let annotation = "/metadata/annotations/ingressclass.kubernetes.io~1is-default-class";
        let mut shown = text(object, "/metadata/name").to_owned();
        if text(object, annotation) == "true" {
            shown.push_str(" (default)");
        }
        let parameters = match object.pointer("/spec/parameters").filter(|p| !p.is_null()) {
            None => "<none>".to_owned(),
            Some(p) => match text(p, "/apiGroup") {
                "" => format!("{}/{}", text(p, "/kind"), text(p, "/name")),
                group => format!("{}.{group}/{}", text(p, "/kind"), text(p, "/name")),
            },
        };
        vec![
            json!(shown),
            json!(text(object, "/spec/controller")),
            json!(parameters),
            age(object, now),
        ]
    },
};

pub(crate) static IP_ADDRESS: Printer = Printer {
    columns: &[NAME, Column::text("ParentRef"), AGE],
    cells: |object, now| {
        let parent = match object.pointer("/spec/parentRef").filter(|p| !p.is_null()) {
            None => "<none>".to_owned(),
            Some(p) => {
                let mut parts = vec![match text(p, "/group") {
                    "" => text(p, "/resource").to_lowercase(),
                    group => format!("{}.{group}", text(p, "/resource")).to_lowercase(),
                }];
                parts.extend(Some(text(p, "/namespace").to_owned()).filter(|n| !n.is_empty()));
                parts.push(text(p, "/name").to_owned());
                parts.join("/")
            }
        };
        vec![name(object), json!(parent), age(object, now)]
    },
};

pub(crate) static SERVICE_CIDR: Printer = Printer {
    columns: &[NAME, Column::text("CIDRs"), AGE],
    cells: |object, now| {
        let all: Vec<&str> = items(object, "/spec/cidrs").filter_map(Value::as_str).collect();
        vec![name(object), json!(all.join(",")), age(object, now)]
    },
};
