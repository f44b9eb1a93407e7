//! Workloads: what makes pods and keeps them.
// upstream: Kubernetes, pkg/apis/apps/validation/validation.go

use serde_json::Value;

use super::value::{at_most_all, immutable, int_or_percent, not_negative, number_in, text};
use super::{Errors, pod, selector};
use crate::selectors::LabelSelector;

pub(crate) fn deployment(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    not_negative(spec, "replicas", "spec", errors);
    selects(spec, "deployment", errors);
    lasting_template(spec, "ReplicaSet", errors);
    deployment_strategy(&spec["strategy"], errors);
    not_negative(spec, "minReadySeconds", "spec", errors);
    not_negative(spec, "revisionHistoryLimit", "spec", errors);
    if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64() {
        not_negative(spec, "progressDeadlineSeconds", "spec", errors);
        if deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0) {
            let why = "must be greater than minReadySeconds";
            errors.invalid("spec.progressDeadlineSeconds", deadline, why);
        }
    }
}

fn deployment_strategy(strategy: &Value, errors: &mut Errors) {
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => errors.forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        ),
        "Recreate" => {}
        "RollingUpdate" => {
            let path = "spec.strategy.rollingUpdate.maxUnavailable";
            int_or_percent(&rolling["maxUnavailable"], path, errors);
            int_or_percent(&rolling["maxSurge"], "spec.strategy.rollingUpdate.maxSurge", errors);
            if number_in(&rolling["maxUnavailable"]) == 0 && number_in(&rolling["maxSurge"]) == 0 {
                let why = "may not be 0 when `maxSurge` is 0";
                errors.invalid(path, rolling["maxUnavailable"].clone(), why);
            }
            at_most_all(&rolling["maxUnavailable"], path, errors);
        }
        other => errors.not_supported("spec.strategy", other, &["Recreate", "RollingUpdate"]),
    }
}

pub(crate) fn replica_set(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    not_negative(spec, "replicas", "spec", errors);
    not_negative(spec, "minReadySeconds", "spec", errors);
    selects(spec, "deployment", errors);
    lasting_template(spec, "ReplicaSet", errors);
}

pub(crate) fn stateful_set(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let management = text(spec, "podManagementPolicy");
    if !matches!(management, "OrderedReady" | "Parallel") {
        let why = "must be 'OrderedReady' or 'Parallel'";
        errors.invalid("spec.podManagementPolicy", management, why);
    }
    let strategy = &spec["updateStrategy"];
    match text(strategy, "type") {
        "RollingUpdate" => not_negative(
            &strategy["rollingUpdate"],
            "partition",
            "spec.updateStrategy.rollingUpdate",
            errors,
        ),
        "OnDelete" if !strategy["rollingUpdate"].is_null() => errors.invalid(
            "spec.updateStrategy.rollingUpdate",
            strategy["rollingUpdate"].clone(),
            "only allowed for updateStrategy 'RollingUpdate'",
        ),
        "OnDelete" => {}
        other => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.invalid("spec.updateStrategy", other, why);
        }
    }
    not_negative(spec, "replicas", "spec", errors);
    not_negative(spec, "minReadySeconds", "spec", errors);
    selects(spec, "statefulset", errors);
    lasting_template(spec, "StatefulSet", errors);
}

pub(crate) fn daemon_set(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    selects(spec, "daemonset", errors);
    lasting_template(spec, "DaemonSet", errors);
    not_negative(spec, "minReadySeconds", "spec", errors);
    let strategy = &spec["updateStrategy"];
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let path = "spec.updateStrategy.rollingUpdate";
            for field in ["maxUnavailable", "maxSurge"] {
                int_or_percent(&rolling[field], &format!("{path}.{field}"), errors);
            }
            let (unavailable, surge) =
                (number_in(&rolling["maxUnavailable"]), number_in(&rolling["maxSurge"]));
            if unavailable != 0 && surge != 0 {
                let why = "may not be set when maxUnavailable is non-zero";
                errors.invalid(format!("{path}.maxSurge"), rolling["maxSurge"].clone(), why);
            } else if unavailable == 0 && surge == 0 {
                let value = rolling["maxUnavailable"].clone();
                errors.invalid(
                    format!("{path}.maxUnavailable"),
                    value,
                    "cannot be 0 when maxSurge is 0",
                );
            }
        }
        other => {
            errors.not_supported("spec.updateStrategy", other, &["RollingUpdate", "OnDelete"]);
        }
    }
    not_negative(spec, "revisionHistoryLimit", "spec", errors);
}

pub(crate) fn replication_controller(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    not_negative(spec, "minReadySeconds", "spec", errors);
    if spec["selector"].as_object().is_none_or(serde_json::Map::is_empty) {
        errors.required("spec.selector", "");
    }
    not_negative(spec, "replicas", "spec", errors);
    if spec["template"].is_null() {
        return errors.required("spec.template", "");
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if !LabelSelector::from_labels(&spec["selector"]).matches(labels) {
        let why = "`selector` does not match template `labels`";
        errors.invalid("spec.template.metadata.labels", labels.clone(), why);
    }
    pod::template(&spec["template"], "spec.template", errors);
    always_restarts(spec, "ReplicationController", errors);
}

pub(crate) fn selector_is_fixed(new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
    if subresource.is_empty() {
        immutable_selector(new, old, errors);
    }
}

fn immutable_selector(new: &Value, old: &Value, errors: &mut Errors) {
    immutable(&new["spec"], &old["spec"], "selector", "spec.", errors);
}

pub(crate) fn stateful_set_update(
    new: &Value,
    old: &Value,
    subresource: &str,
    errors: &mut Errors,
) {
    const FREE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    if !subresource.is_empty() {
        return;
    }
    let mut expected = new["spec"].clone();
    for name in FREE {
        crate::kinds::put_back(&mut expected, &old["spec"], name);
    }
    if expected != old["spec"] {
        errors.forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
             'template', 'updateStrategy', 'revisionHistoryLimit', \
             'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

pub(crate) fn revision_is_fixed(new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
    immutable(new, old, "data", "", errors);
}

pub(crate) fn pod_template(object: &Value, errors: &mut Errors) {
    pod::template(&object["template"], "template", errors);
}

fn selects(spec: &Value, kind: &str, errors: &mut Errors) {
    if spec["selector"].is_null() {
        return errors.required("spec.selector", "");
    }
    selector::check(&spec["selector"], "spec.selector", errors);
    if selector::is_empty(&spec["selector"]) {
        let why = format!("empty selector is invalid for {kind}");
        errors.invalid("spec.selector", spec["selector"].clone(), &why);
    }
}

/// A template whose pods are to run forever.
fn lasting_template(spec: &Value, kind: &str, errors: &mut Errors) {
    let template = &spec["template"];
    let labels = &template["metadata"]["labels"];
    if !spec["selector"].is_null()
        && !selector::is_empty(&spec["selector"])
        && !LabelSelector::from_value(&spec["selector"]).matches(labels)
    {
        let why = "`selector` does not match template `labels`";
        errors.invalid("spec.template.metadata.labels", labels.clone(), why);
    }
    pod::template(template, "spec.template", errors);
    always_restarts(spec, kind, errors);
}

fn always_restarts(spec: &Value, kind: &str, errors: &mut Errors) {
    let pod = &spec["template"]["spec"];
    let policy = text(pod, "restartPolicy");
    if policy != "Always" {
        errors.not_supported("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
    if !pod["activeDeadlineSeconds"].is_null() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden("spec.template.spec.activeDeadlineSeconds", &why);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn deployment(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "d", "namespace": "x"}, "spec": spec});
        crate::kinds::find("apps", "v1", "deployments").expect("kind").default(&mut object);
        object
    }

    fn errors_of(spec: Value) -> Vec<String> {
        let kind = crate::kinds::find("apps", "v1", "deployments").expect("kind");
        let errors = kind.validate_create(&deployment(spec));
        errors.iter().map(ToString::to_string).collect()
    }

    fn good() -> Value {
        json!({"selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "a", "image": "b"}]}}})
    }

    #[test]
    fn deployments() {
        let none: [&str; 0] = [];
        assert_eq!(errors_of(good()), none);
        let mut other = good();
        other["template"]["metadata"]["labels"] = json!({"app": "b"});
        other["replicas"] = json!(-1);
        assert_eq!(
            errors_of(other),
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does \
                 not match template `labels`",
            ]
        );
        let mut still = good();
        still["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}});
        assert_eq!(
            errors_of(still),
            ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when \
              `maxSurge` is 0"]
        );
    }

    #[test]
    fn selectors_never_change() {
        let kind = crate::kinds::find("apps", "v1", "deployments").expect("kind");
        let old = deployment(good());
        let mut new = old.clone();
        new["spec"]["selector"]["matchLabels"] = json!({"app": "b"});
        new["spec"]["template"]["metadata"]["labels"] = json!({"app": "b"});
        let errors: Vec<String> =
            kind.validate_update(&new, &old, "").iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"]
        );
    }
}
