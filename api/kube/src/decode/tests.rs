//! Decoding in the words that clients know.

use serde_json::json;

use super::*;

fn kind(group: &str, plural: &str) -> &'static Kind {
    crate::kinds::find(group, "v1", plural).expect("a kind")
}

fn error_of(plural: &str, text: &str) -> String {
    let group = if plural == "deployments" { "apps" } else { "" };
    object(kind(group, plural), text.as_bytes(), "application/json")
        .expect_err("an error")
        .to_string()
}

#[test]
fn wrong_types_are_refused_in_go_words() {
    for (plural, text, wanted) in [
        (
            "deployments",
            r#"{"spec":{"replicas":"3"}}"#,
            "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot \
             unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "pods",
            r#"{"spec":{"containers":[{"env":[{"name":"a","value":1}]}]}}"#,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into \
             Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            "pods",
            r#"{"spec":{"containers":{}}}"#,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal object into \
             Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "pods",
            r#"{"spec":{"activeDeadlineSeconds":1.5}}"#,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number 1.5 \
             into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64",
        ),
        (
            "pods",
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into \
             Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "pods",
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"1x"}}}]}}"#,
            "Pod in version \"v1\" cannot be handled as a Pod: unable to parse quantity's suffix",
        ),
        (
            "deployments",
            r#"{"apiVersion":"v1","kind":"Pod"}"#,
            "Pod in version \"v1\" cannot be handled as a Deployment: converting (v1.Pod) to \
             (apps.Deployment): unknown conversion",
        ),
        (
            "deployments",
            r#"{"apiVersion":"apps/v1beta1","kind":"Deployment"}"#,
            "the API version in the data (apps/v1beta1) does not match the expected API version \
             (apps/v1)",
        ),
        (
            "pods",
            "{",
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; \
             json parse error: unexpected end of JSON input ({)",
        ),
    ] {
        assert_eq!(error_of(plural, text), wanted);
    }
}

#[test]
fn unknown_and_repeated_fields_are_told_in_order() {
    let text = r#"{"spec":{"foo":1,"replicas":1,"replicas":2,
        "template":{"spec":{"containers":[{"name":"a","imagee":"b"}]}}},"Kind":"x"}"#;
    let decoded = object(kind("apps", "deployments"), text.as_bytes(), "").expect("an object");
    assert_eq!(
        decoded.unknown_fields,
        ["spec.foo", "spec.template.spec.containers[0].imagee", "Kind"]
    );
    assert_eq!(decoded.duplicate_fields, ["spec.replicas"]);
    assert_eq!(decoded.value["spec"]["replicas"], 2);
    assert_eq!(
        decoded.strict_error("Deployment", "v1").as_deref(),
        Some(
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding \
             error: unknown field \"spec.foo\", duplicate field \"spec.replicas\", unknown field \
             \"spec.template.spec.containers[0].imagee\", unknown field \"Kind\""
        )
    );
}

#[test]
fn values_come_out_canonical() {
    let text = r#"{"metadata":{"name":"p","creationTimestamp":"2026-01-01T01:00:00+01:00",
        "annotations":null},"spec":{"nodeSelector":{"a":null},"containers":[{"resources":
        {"requests":{"cpu":"1000m","memory":"0.5Gi"},"limits":{"cpu":1}},"command":["a",null],
        "readinessProbe":{"httpGet":{"port":80}}}]}}"#;
    let decoded = object(kind("", "pods"), text.as_bytes(), "").expect("an object");
    assert_eq!(
        decoded.value,
        json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeSelector": {"a": ""}, "containers": [{
                "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"cpu": "1"}},
                "command": ["a", ""],
                "readinessProbe": {"httpGet": {"port": 80}}}]},
            "apiVersion": "v1", "kind": "Pod",
        })
    );
}

#[test]
fn fields_behind_gates_are_dropped_in_silence() {
    let text = r#"{"spec":{"schedulingGroup":{"podGroupName":"x"},"nodeName":"n"}}"#;
    let decoded = object(kind("", "pods"), text.as_bytes(), "").expect("an object");
    assert_eq!(decoded.value["spec"], json!({"nodeName": "n"}));
    assert!(decoded.warnings.is_empty());
}

#[test]
fn yaml_means_the_same_as_json() {
    let text = "
apiVersion: v1
kind: ConfigMap
metadata: {name: c, labels: {version: \"1.0\"}}
data:
  a: |
    two
    lines
  b: 'true'
";
    let decoded = object(kind("", "configmaps"), text.as_bytes(), "application/yaml");
    assert_eq!(
        decoded.expect("an object").value,
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "labels": {"version": "1.0"}},
            "data": {"a": "two\nlines\n", "b": "true"},
        })
    );
    let wrong = object(kind("", "configmaps"), b"data: {a: true}", "application/yaml");
    assert_eq!(
        wrong.expect_err("an error").to_string(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal bool \
         into Go struct field ConfigMap.data of type string"
    );
}

#[test]
fn other_media_types_are_refused() {
    let error = object(kind("", "pods"), b"", "application/cbor").expect_err("an error");
    assert_eq!(error, DecodeError::UnsupportedMedia("application/cbor".to_owned()));
}
