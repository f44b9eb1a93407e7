//! Volumes of pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::value::{items, text};
use super::{Errors, names};

/// Checks the volumes of a pod's spec and returns the names of those that are right.
pub(super) fn check<'a>(spec: &'a Value, path: &str, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut known = BTreeSet::new();
    for (path, volume) in items(spec, "volumes", path) {
        let before = errors.len();
        source(volume, &path, errors);
        let name = text(volume, "name");
        let at = format!("{path}.name");
        if name.is_empty() {
            errors.required(&at, "");
        } else {
            errors.all_invalid(&at, name, names::label(name));
        }
        if known.contains(name) {
            errors.duplicate(&at, name);
        }
        if errors.len() == before {
            known.insert(name);
        }
    }
    known
}

fn source(volume: &Value, path: &str, errors: &mut Errors) {
    let fields = volume.as_object().into_iter().flatten();
    let sources: Vec<&str> =
        fields.filter(|(n, v)| *n != "name" && !v.is_null()).map(|(n, _)| n.as_str()).collect();
    if sources.is_empty() {
        errors.required(path, "must specify a volume type");
    }
    for extra in sources.iter().skip(1) {
        errors.forbidden(format!("{path}.{extra}"), "may not specify more than 1 volume type");
    }
    let Some(kind) = sources.first() else { return };
    let (source, path) = (&volume[*kind], format!("{path}.{kind}"));
    let required = match *kind {
        "hostPath" => "path",
        "secret" => "secretName",
        "configMap" => "name",
        "persistentVolumeClaim" => "claimName",
        "csi" => "driver",
        "projected" => return projected(source, &path, errors),
        _ => return,
    };
    if text(source, required).is_empty() {
        errors.required(format!("{path}.{required}"), "");
    }
    if *kind == "hostPath" {
        backsteps(text(source, "path"), &format!("{path}.path"), errors);
    }
    mode(source, "defaultMode", &path, errors);
    keys(source, &path, errors);
}

fn projected(source: &Value, path: &str, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for (path, part) in items(source, "sources", path) {
        let fields = part.as_object().into_iter().flatten();
        let kinds: Vec<&str> =
            fields.filter(|(_, v)| !v.is_null()).map(|(n, _)| n.as_str()).collect();
        if kinds.is_empty() {
            errors.required(&path, "must specify exactly one source type");
        }
        for extra in kinds.iter().skip(1) {
            errors.forbidden(format!("{path}.{extra}"), "may not specify more than 1 volume type");
        }
        for kind in ["secret", "configMap"] {
            if part[kind].is_object() {
                let path = format!("{path}.{kind}");
                if text(&part[kind], "name").is_empty() {
                    errors.required(format!("{path}.name"), "");
                }
                keys(&part[kind], &path, errors);
            }
        }
        if part["serviceAccountToken"].is_object() {
            let path = format!("{path}.serviceAccountToken");
            token(&part["serviceAccountToken"], &path, errors);
        }
    }
}

fn token(token: &Value, path: &str, errors: &mut Errors) {
    let seconds = token["expirationSeconds"].as_i64();
    let at = format!("{path}.expirationSeconds");
    if let Some(seconds) = seconds.filter(|s| *s < 600) {
        errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
    }
    if let Some(seconds) = seconds.filter(|s| *s > 1 << 32) {
        errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if text(token, "path").is_empty() {
        errors.required(format!("{path}.path"), "");
    } else {
        relative(text(token, "path"), &format!("{path}.path"), errors);
    }
}

fn keys(source: &Value, path: &str, errors: &mut Errors) {
    for (path, item) in items(source, "items", path) {
        if text(item, "key").is_empty() {
            errors.required(format!("{path}.key"), "");
        }
        if text(item, "path").is_empty() {
            errors.required(format!("{path}.path"), "");
        } else {
            relative(text(item, "path"), &format!("{path}.path"), errors);
        }
        mode(item, "mode", &path, errors);
    }
}

fn mode(source: &Value, name: &str, path: &str, errors: &mut Errors) {
    if let Some(mode) = source[name].as_i64().filter(|m| !(0..=0o777).contains(m)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(format!("{path}.{name}"), mode, why);
    }
}

/// A path below a folder that is given.
pub(super) fn relative(given: &str, path: &str, errors: &mut Errors) {
    if given.starts_with('/') {
        errors.invalid(path, given, "must be a relative path");
    }
    backsteps(given, path, errors);
}

fn backsteps(given: &str, path: &str, errors: &mut Errors) {
    if given.split('/').any(|part| part == "..") {
        errors.invalid(path, given, "must not contain '..'");
    }
}
