//! What makes pods.
// upstream: Kubernetes, pkg/apis/{apps,batch,autoscaling}/v*/defaults.go

use serde_json::{Value, json};

use super::fields::{absent, each, empty, made, present};
use super::pod::template;

pub(crate) fn deployment(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    absent(spec, "replicas", 1);
    let strategy = made(spec, "strategy");
    empty(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = made(strategy, "rollingUpdate");
        absent(rolling, "maxUnavailable", "25%");
        absent(rolling, "maxSurge", "25%");
    }
    absent(spec, "revisionHistoryLimit", 10);
    absent(spec, "progressDeadlineSeconds", 600);
    template(spec);
}

pub(crate) fn replica_set(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    absent(spec, "replicas", 1);
    template(spec);
}

pub(crate) fn replication_controller(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    absent(spec, "replicas", 1);
    template(spec);
    let labels = spec.pointer("/template/metadata/labels").cloned();
    if let Some(labels) = labels {
        if is_empty(&spec["selector"]) {
            spec["selector"] = labels.clone();
        }
        if is_empty(&object["metadata"]["labels"]) {
            object["metadata"]["labels"] = labels;
        }
    }
}

pub(crate) fn stateful_set(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    empty(spec, "podManagementPolicy", "OrderedReady");
    let strategy = made(spec, "updateStrategy");
    if strategy["type"].as_str().unwrap_or_default().is_empty() {
        strategy["type"] = json!("RollingUpdate");
        made(strategy, "rollingUpdate");
    }
    if strategy["type"] == "RollingUpdate"
        && let Some(rolling) = present(strategy, "rollingUpdate")
    {
        absent(rolling, "partition", 0);
    }
    let retention = made(spec, "persistentVolumeClaimRetentionPolicy");
    empty(retention, "whenDeleted", "Retain");
    empty(retention, "whenScaled", "Retain");
    absent(spec, "replicas", 1);
    absent(spec, "revisionHistoryLimit", 10);
    for claim in each(spec, "volumeClaimTemplates") {
        super::storage::claim(claim);
    }
    template(spec);
}

pub(crate) fn daemon_set(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    let strategy = made(spec, "updateStrategy");
    empty(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = made(strategy, "rollingUpdate");
        absent(rolling, "maxUnavailable", 1);
        absent(rolling, "maxSurge", 0);
    }
    absent(spec, "revisionHistoryLimit", 10);
    template(spec);
}

pub(crate) fn job(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    job_spec(spec);
    let labels = spec.pointer("/template/metadata/labels").filter(|l| !is_empty(l)).cloned();
    if let Some(labels) = labels
        && is_empty(&object["metadata"]["labels"])
    {
        object["metadata"]["labels"] = labels;
    }
}

fn job_spec(spec: &mut Value) {
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        absent(spec, "completions", 1);
    }
    absent(spec, "parallelism", 1);
    let limit = if spec["backoffLimitPerIndex"].is_null() { 6 } else { i64::from(i32::MAX) };
    absent(spec, "backoffLimit", limit);
    absent(spec, "completionMode", "NonIndexed");
    absent(spec, "suspend", false);
    let replacement =
        if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
    absent(spec, "podReplacementPolicy", replacement);
    absent(spec, "manualSelector", false);
    template(spec);
}

pub(crate) fn cron_job(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    empty(spec, "concurrencyPolicy", "Allow");
    absent(spec, "suspend", false);
    absent(spec, "successfulJobsHistoryLimit", 3);
    absent(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = present(spec, "jobTemplate")
        && let Some(spec) = present(job, "spec")
    {
        // A template of jobs is defaulted only where every job is: in its pods.
        template(spec);
    }
}

pub(crate) fn pod_template(object: &mut Value) {
    template(object);
}

pub(crate) fn autoscaler(object: &mut Value) {
    let version_two = object["apiVersion"] == "autoscaling/v2";
    let Some(spec) = present(object, "spec") else { return };
    absent(spec, "minReplicas", 1);
    if !version_two {
        return;
    }
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        spec["metrics"] = json!([{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    }
    let Some(behavior) = present(spec, "behavior") else { return };
    let up = made(behavior, "scaleUp");
    absent(up, "stabilizationWindowSeconds", 0);
    absent(up, "selectPolicy", "Max");
    absent(
        up,
        "policies",
        json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]),
    );
    let down = made(behavior, "scaleDown");
    absent(down, "selectPolicy", "Max");
    absent(down, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
}

fn is_empty(map: &Value) -> bool {
    map.as_object().is_none_or(serde_json::Map::is_empty)
}
