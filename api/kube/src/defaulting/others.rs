//! Small kinds: configuration, access control, admission, priorities.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::fields::{absent, each, empty, made, present, unset};

const RBAC: &str = "rbac.authorization.k8s.io";

/// The label by which selectors choose namespaces by name.
pub(crate) fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if !name.is_empty() {
        let labels = made(&mut object["metadata"], "labels");
        labels["kubernetes.io/metadata.name"] = json!(name);
    }
    empty(made(object, "status"), "phase", "Active");
}

/// stringData is written only: it becomes data.
pub(crate) fn secret(object: &mut Value) {
    empty(object, "type", "Opaque");
    let given = object.as_object_mut().and_then(|o| o.shift_remove("stringData"));
    if let Some(Value::Object(given)) = given
        && !given.is_empty()
    {
        let data = made(object, "data");
        for (key, value) in given {
            data[key] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
        }
    }
}

pub(crate) fn node(object: &mut Value) {
    if let Some(status) = present(object, "status")
        && let Some(capacity) = status.get("capacity").filter(|c| c.is_object()).cloned()
    {
        absent(status, "allocatable", capacity);
    }
}

pub(crate) fn limit_range(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    for limit in each(spec, "limits").filter(|l| l["type"] == "Container") {
        let map = |name: &str| limit[name].as_object().cloned().unwrap_or_default();
        let (max, min) = (map("max"), map("min"));
        let fill = |mut into: Map<String, Value>, from: &Map<String, Value>| {
            for (name, amount) in from {
                into.entry(name.clone()).or_insert_with(|| amount.clone());
            }
            into
        };
        let default = fill(map("default"), &max);
        let request = fill(fill(map("defaultRequest"), &default), &min);
        for (name, made) in [("default", default), ("defaultRequest", request)] {
            if !made.is_empty() {
                limit[name] = Value::Object(made);
            }
        }
    }
}

pub(crate) fn role_binding(object: &mut Value) {
    if let Some(role) = present(object, "roleRef") {
        empty(role, "apiGroup", RBAC);
    }
    for subject in each(object, "subjects") {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            empty(subject, "apiGroup", RBAC);
        }
    }
}

pub(crate) fn priority_class(object: &mut Value) {
    absent(object, "preemptionPolicy", "PreemptLowerPriority");
}

pub(crate) fn webhooks(object: &mut Value) {
    let mutating = object["kind"] == "MutatingWebhookConfiguration";
    for webhook in each(object, "webhooks") {
        absent(webhook, "failurePolicy", "Fail");
        absent(webhook, "matchPolicy", "Equivalent");
        absent(webhook, "namespaceSelector", json!({}));
        absent(webhook, "objectSelector", json!({}));
        absent(webhook, "timeoutSeconds", 10);
        if mutating {
            absent(webhook, "reinvocationPolicy", "Never");
        }
        each(webhook, "rules").for_each(|rule| absent(rule, "scope", "*"));
        if let Some(client) = present(webhook, "clientConfig")
            && let Some(service) = present(client, "service")
        {
            absent(service, "port", 443);
        }
    }
}

pub(crate) fn admission_policy(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    absent(spec, "failurePolicy", "Fail");
    if let Some(resources) = present(spec, "matchConstraints") {
        absent(resources, "matchPolicy", "Equivalent");
        absent(resources, "namespaceSelector", json!({}));
        absent(resources, "objectSelector", json!({}));
        for rules in ["resourceRules", "excludeResourceRules"] {
            each(resources, rules).for_each(|rule| absent(rule, "scope", "*"));
        }
    }
}

pub(crate) fn flow_schema(object: &mut Value) {
    if let Some(spec) = present(object, "spec") {
        unset(spec, "matchingPrecedence", 1000);
    }
}

pub(crate) fn priority_level(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    if let Some(limited) = present(spec, "limited") {
        absent(limited, "nominalConcurrencyShares", 30);
        absent(limited, "lendablePercent", 0);
        if let Some(response) = present(limited, "limitResponse")
            && let Some(queuing) = present(response, "queuing")
        {
            unset(queuing, "handSize", 8);
            unset(queuing, "queues", 64);
            unset(queuing, "queueLengthLimit", 50);
        }
    }
    if let Some(exempt) = present(spec, "exempt") {
        absent(exempt, "nominalConcurrencyShares", 0);
        absent(exempt, "lendablePercent", 0);
    }
}
