//! Jobs and what makes them on a schedule.
// upstream: Kubernetes, pkg/apis/batch/validation/validation.go

use serde_json::Value;

use super::value::{immutable, not_negative, one_of, text};
use super::{Errors, pod, selector};
use crate::selectors::LabelSelector;

pub(crate) fn job(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    job_spec(spec, "spec", errors);
    if spec["selector"].is_null() {
        return errors.required("spec.selector", "");
    }
    selector::check(&spec["selector"], "spec.selector", errors);
    let labels = &spec["template"]["metadata"]["labels"];
    if !LabelSelector::from_value(&spec["selector"]).matches(labels) {
        let why = "`selector` does not match template `labels`";
        errors.invalid("spec.template.metadata.labels", labels.clone(), why);
    }
}

fn job_spec(spec: &Value, path: &str, errors: &mut Errors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(spec, field, path, errors);
    }
    let indexed = spec["completionMode"] == "Indexed";
    if !spec["completionMode"].is_null() {
        one_of(spec, "completionMode", path, &["NonIndexed", "Indexed"], errors);
    }
    if indexed && spec["completions"].is_null() {
        errors.required(format!("{path}.completions"), "when completion mode is Indexed");
    }
    if !indexed {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            if !spec[field].is_null() {
                let why = "requires indexed completion mode";
                errors.invalid(format!("{path}.{field}"), spec[field].clone(), why);
            }
        }
    }
    pod::template(&spec["template"], &format!("{path}.template"), errors);
    let policy = text(&spec["template"]["spec"], "restartPolicy");
    let at = format!("{path}.template.spec.restartPolicy");
    match policy {
        "OnFailure" if !spec["podFailurePolicy"].is_null() => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(at, policy, why);
        }
        "Never" | "OnFailure" => {}
        "" | "Always" => {
            errors.required(at, "valid values: \"OnFailure\", \"Never\"");
        }
        other => errors.not_supported(at, other, &["OnFailure", "Never"]),
    }
}

pub(crate) fn job_update(new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
    if !subresource.is_empty() {
        return;
    }
    let (new, old) = (&new["spec"], &old["spec"]);
    let elastic = old["completionMode"] == "Indexed"
        && new["completions"].as_i64() == new["parallelism"].as_i64();
    if !elastic {
        immutable(new, old, "completions", "spec.", errors);
    }
    for field in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        immutable(new, old, field, "spec.", errors);
    }
    if old["suspend"] != true {
        immutable(new, old, "template", "spec.", errors);
    }
}

pub(crate) fn cron_job(object: &Value, errors: &mut Errors) {
    const NAME_MAX: usize = 52; // eleven characters are appended to it
    let spec = &object["spec"];
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        errors.required("spec.schedule", "");
    } else if schedule.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid("spec.schedule", schedule, why);
    } else if !schedule.starts_with('@') && schedule.split_whitespace().count() != 5 {
        let found = schedule.split_whitespace().count();
        let why = format!("expected exactly 5 fields, found {found}: [{schedule}]");
        errors.invalid("spec.schedule", schedule, &why);
    }
    not_negative(spec, "startingDeadlineSeconds", "spec", errors);
    one_of(spec, "concurrencyPolicy", "spec", &["Allow", "Forbid", "Replace"], errors);
    not_negative(spec, "successfulJobsHistoryLimit", "spec", errors);
    not_negative(spec, "failedJobsHistoryLimit", "spec", errors);
    job_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", errors);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name.len() > NAME_MAX {
        let why = format!("must be no more than {NAME_MAX} characters");
        errors.invalid("metadata.name", name, &why);
    }
}
