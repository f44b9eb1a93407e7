//! Containers of pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::value::{items, not_negative, one_of, port, text};
use super::{Errors, names, resources, volume};

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];

/// Which list a container stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Main,
    Ephemeral,
}

/// Checks one container.
pub(super) fn check(
    container: &Value,
    role: Role,
    volumes: &BTreeSet<&str>,
    path: &str,
    errors: &mut Errors,
) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.required(format!("{path}.name"), "");
    } else {
        errors.all_invalid(&format!("{path}.name"), name, names::label(name));
    }
    let image = text(container, "image");
    if image.is_empty() {
        errors.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        errors.invalid(
            format!("{path}.image"),
            image,
            "must not have leading or trailing whitespace",
        );
    }
    one_of(container, "terminationMessagePolicy", path, MESSAGE_POLICIES, errors);
    ports(container, path, errors);
    environment(container, path, errors);
    mounts(container, volumes, path, errors);
    one_of(container, "imagePullPolicy", path, PULL_POLICIES, errors);
    resources::check(&container["resources"], &format!("{path}.resources"), errors);
    if role == Role::Ephemeral {
        return;
    }
    let sidecar = container["restartPolicy"] == "Always";
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[probe].is_null() {
            continue;
        }
        let path = format!("{path}.{probe}");
        if role == Role::Init && !sidecar {
            errors
                .forbidden(path, "may not be set for init containers without restartPolicy=Always");
        } else {
            check_probe(&container[probe], probe, &path, errors);
        }
    }
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        if !handler.is_null() {
            check_handler(handler, &format!("{path}.lifecycle.{hook}"), errors);
        }
    }
}

fn ports(container: &Value, path: &str, errors: &mut Errors) {
    let mut known = BTreeSet::new();
    for (path, one) in items(container, "ports", path) {
        let name = text(one, "name");
        if !name.is_empty() {
            let wrong = names::port_name(name);
            let at = format!("{path}.name");
            if !wrong.is_empty() {
                errors.all_invalid(&at, name, wrong);
            } else if !known.insert(name) {
                errors.duplicate(&at, name);
            }
        }
        let number = one["containerPort"].as_i64().unwrap_or(0);
        if number == 0 {
            errors.required(format!("{path}.containerPort"), "");
        } else {
            port(&one["containerPort"], &format!("{path}.containerPort"), errors);
        }
        if one["hostPort"].as_i64().unwrap_or(0) != 0 {
            port(&one["hostPort"], &format!("{path}.hostPort"), errors);
        }
        one_of(one, "protocol", &path, names::PROTOCOLS, errors);
    }
}

fn environment(container: &Value, path: &str, errors: &mut Errors) {
    for (path, variable) in items(container, "env", path) {
        let name = text(variable, "name");
        let at = format!("{path}.name");
        if name.is_empty() {
            errors.required(&at, "");
        } else {
            errors.all_invalid(&at, name, names::env_var_name(name));
        }
        let Some(from) = variable["valueFrom"].as_object() else { continue };
        let at = format!("{path}.valueFrom");
        let sources: Vec<&String> =
            from.iter().filter(|(_, v)| !v.is_null()).map(|(n, _)| n).collect();
        if sources.is_empty() {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or \
                       `secretKeyRef`";
            errors.invalid(&at, "", why);
        }
        if sources.len() > 1 {
            errors.invalid(&at, "", "may not have more than one field specified at a time");
        }
        if !text(variable, "value").is_empty() && !sources.is_empty() {
            errors.invalid(&at, "", "may not be specified when `value` is not empty");
        }
        for source in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(reference) = from.get(source).filter(|r| r.is_object()) {
                for field in ["name", "key"] {
                    if text(reference, field).is_empty() {
                        errors.required(format!("{at}.{source}.{field}"), "");
                    }
                }
            }
        }
    }
}

fn mounts(container: &Value, volumes: &BTreeSet<&str>, path: &str, errors: &mut Errors) {
    let mut points = BTreeSet::new();
    for (path, mount) in items(container, "volumeMounts", path) {
        let name = text(mount, "name");
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        }
        if !volumes.contains(name) {
            errors.not_found(format!("{path}.name"), name);
        }
        let point = text(mount, "mountPath");
        if point.is_empty() {
            errors.required(format!("{path}.mountPath"), "");
        }
        if !points.insert(point) {
            errors.invalid(format!("{path}.mountPath"), point, "must be unique");
        }
        let sub_path = text(mount, "subPath");
        if !sub_path.is_empty() {
            volume::relative(sub_path, &format!("{path}.subPath"), errors);
        }
        if !text(mount, "subPathExpr").is_empty() && !sub_path.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(format!("{path}.subPathExpr"), text(mount, "subPathExpr"), why);
        }
    }
}

fn check_probe(probe: &Value, kind: &str, path: &str, errors: &mut Errors) {
    check_handler(probe, path, errors);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        not_negative(probe, field, path, errors);
    }
    let grace = probe["terminationGracePeriodSeconds"].as_i64();
    if let Some(seconds) = grace.filter(|s| *s <= 0) {
        let at = format!("{path}.terminationGracePeriodSeconds");
        errors.invalid(at, seconds, "must be greater than 0");
    }
    let threshold = probe["successThreshold"].as_i64().unwrap_or(1);
    if kind != "readinessProbe" && threshold != 1 {
        errors.invalid(format!("{path}.successThreshold"), threshold, "must be 1");
    }
}

fn check_handler(handler: &Value, path: &str, errors: &mut Errors) {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let given: Vec<&str> = kinds.into_iter().filter(|k| !handler[*k].is_null()).collect();
    let Some(first) = given.first() else {
        return errors.required(path, "must specify a handler type");
    };
    for extra in given.iter().skip(1) {
        errors.forbidden(format!("{path}.{extra}"), "may not specify more than 1 handler type");
    }
    let (action, path) = (&handler[*first], format!("{path}.{first}"));
    match *first {
        "exec" if action["command"].as_array().is_none_or(Vec::is_empty) => {
            errors.required(format!("{path}.command"), "");
        }
        "httpGet" => {
            if text(action, "path").is_empty() {
                errors.required(format!("{path}.path"), "");
            }
            port(&action["port"], &format!("{path}.port"), errors);
            let scheme = text(action, "scheme");
            if !matches!(scheme, "HTTP" | "HTTPS") {
                errors.not_supported(format!("{path}.scheme"), scheme, &["HTTP", "HTTPS"]);
            }
        }
        "tcpSocket" | "grpc" => port(&action["port"], &format!("{path}.port"), errors),
        _ => {}
    }
}
