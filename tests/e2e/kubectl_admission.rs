//! Admission that objects of the cluster configure: policies, webhooks, conversions.

use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::webhook::{Webhook, base64};
use keelson_tests::{Cluster, Settings, wait};
use serde_json::json;

/// How long the server may take to see a configuration.
const SEEN_MAX: Duration = Duration::from_secs(5);

fn start() -> Result<Cluster> {
    Cluster::start(Settings { no_agent: true, ..Settings::default() })
}

const POLICY: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few.example.com}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  matchConditions:
  - {name: not-free, expression: "!has(object.metadata.labels) || !('free' in object.metadata.labels)"}
  variables:
  - {name: max, expression: "int(params.data.max)"}
  validations:
  - {expression: "object.spec.replicas <= variables.max", messageExpression: "'at most ' + string(variables.max) + ' by ' + request.userInfo.username"}
  - {expression: "namespaceObject.metadata.name == 'default'", reason: Forbidden}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: limits}
data: {max: "2"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few}
spec: {policyName: few.example.com, validationActions: [ACTIONS], paramRef: {name: limits, parameterNotFoundAction: Deny}}
"#;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {a: b}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}
"#;

#[test]
fn policies_refuse_and_warn() -> Result<()> {
    let cluster = start()?;
    cluster.apply(&POLICY.replace("ACTIONS", "Warn"))?;
    let create =
        |manifest: &str| cluster.kubectl_with(&["create", "--dry-run=server", "-f", "-"], manifest);
    let warned = wait::until("the policy", SEEN_MAX, || {
        let made = create(DEPLOYMENT)?;
        Ok(made.err.contains("Warning").then_some(made))
    })?;
    ensure!(warned.code == 0, "{}", warned.err);
    let text = "Validation failed for ValidatingAdmissionPolicy 'few.example.com' with binding 'few': at most 2 by";
    ensure!(warned.err.contains(text), "{}", warned.err);
    cluster.apply(&POLICY.replace("ACTIONS", "Deny"))?;
    let refused = wait::until("the refusal", SEEN_MAX, || {
        let made = create(DEPLOYMENT)?;
        Ok((made.code != 0).then_some(made.err))
    })?;
    let text = "ValidatingAdmissionPolicy 'few.example.com' with binding 'few' denied request: at most 2 by";
    ensure!(refused.contains(text), "{refused}");
    create(&DEPLOYMENT.replace("replicas: 3", "replicas: 2"))?.ok()?;
    create(&DEPLOYMENT.replace("{a: b}", "{free: b}"))?.ok()?;
    let wrong = POLICY.replace("object.spec.replicas <=", "nothing <=");
    let refused = cluster.kubectl_with(&["apply", "-f", "-"], &wrong)?.failed()?;
    ensure!(
        refused.contains("spec.validations[0].expression")
            && refused.contains("undeclared reference to 'nothing'"),
        "{refused}"
    );
    Ok(())
}

const MUTATION: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: label.example.com}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"who": request.userInfo.username}}, spec: Object.spec{replicas: object.spec.replicas + 1}}'}
  - patchType: JSONPatch
    jsonPatch: {expression: '[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/x"), value: "y"}]'}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: label}
spec: {policyName: label.example.com}
"#;

#[test]
fn policies_change() -> Result<()> {
    let cluster = start()?;
    cluster.apply(MUTATION)?;
    let path = "-o=jsonpath={.metadata.labels}{.spec.replicas}";
    let made = wait::until("the policy", SEEN_MAX, || {
        let create = ["create", "--dry-run=server", "-f", "-", path];
        let made = cluster.kubectl_with(&create, DEPLOYMENT)?.ok()?;
        Ok(made.contains("who").then_some(made))
    })?;
    let wanted = r#"{"a":"b","example.com/x":"y","who":"kubernetes-admin"}4"#;
    ensure!(made == wanted, "{made}");
    Ok(())
}

fn configuration(kind: &str, webhook: &Webhook, more: &str) -> String {
    let Webhook { url, ca_bundle } = webhook;
    format!(
        r#"{{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "{kind}WebhookConfiguration", "metadata": {{"name": "test"}},
        "webhooks": [{{"name": "maps.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", {more}
        "clientConfig": {{"url": "{url}/{kind}", "caBundle": "{ca_bundle}"}},
        "rules": [{{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}}]}}]}}"#
    )
}

#[test]
fn webhooks_change_and_refuse() -> Result<()> {
    let cluster = start()?;
    let webhook = Webhook::start(cluster.scratch(), |request| {
        let object = &request["object"];
        if object["data"]["bad"].is_string() {
            return json!({"allowed": false, "status": {"message": "bad is bad"}});
        }
        let patch = r#"[{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]"#;
        json!({"allowed": true, "patchType": "JSONPatch", "patch": base64(patch.as_bytes()),
            "warnings": ["it was looked at"]})
    })?;
    let conditions = r#""matchConditions": [{"name": "x", "expression": "!object.metadata.name.startsWith('kube-')"}],"#;
    cluster.apply(&configuration("Mutating", &webhook, conditions))?;
    let create = |name: &str, data: &str| {
        let literal = format!("--from-literal={data}=x");
        cluster.kubectl(&[
            "create",
            "configmap",
            name,
            &literal,
            "--dry-run=server",
            "-o",
            "jsonpath={.metadata.labels}",
        ])
    };
    let made = wait::until("the webhook", SEEN_MAX, || {
        let made = create("one", "a")?;
        Ok((!made.out.is_empty()).then_some(made))
    })?;
    ensure!(made.out == r#"{"seen":"yes"}"#, "{}", made.out);
    ensure!(made.err.contains("Warning: it was looked at"), "{}", made.err);
    ensure!(create("kube-x", "a")?.ok()?.is_empty());
    let refused = create("two", "bad")?.failed()?;
    let text = "admission webhook \"maps.example.com\" denied the request: bad is bad";
    ensure!(refused.contains(text), "{refused}");
    cluster.k("delete mutatingwebhookconfiguration test")?;

    // One that cannot be reached refuses, unless that is to be ignored.
    let gone = Webhook { url: "https://localhost:1".to_owned(), ca_bundle: webhook.ca_bundle };
    cluster.apply(&configuration("Validating", &gone, ""))?;
    let refused = wait::until("the webhook", SEEN_MAX, || {
        let made = create("three", "a")?;
        Ok((made.code != 0).then_some(made.err))
    })?;
    ensure!(refused.contains("failed calling webhook \"maps.example.com\""), "{refused}");
    cluster.apply(&configuration("Validating", &gone, r#""failurePolicy": "Ignore","#))?;
    wait::until("the webhook", SEEN_MAX, || Ok((create("three", "a")?.code == 0).then_some(())))?;
    Ok(())
}

#[test]
fn a_webhook_converts_between_versions() -> Result<()> {
    let cluster = start()?;
    let webhook = Webhook::start(cluster.scratch(), |request| {
        let wanted = request["desiredAPIVersion"].clone();
        let objects = request["objects"].as_array().cloned().unwrap_or_default();
        let converted = objects.into_iter().map(|mut object| {
            let (from, to) = match wanted == "example.com/v2" {
                true => ("host", "hostname"),
                false => ("hostname", "host"),
            };
            object["apiVersion"] = wanted.clone();
            object["spec"] = json!({to: object["spec"][from]});
            object
        });
        let converted: Vec<_> = converted.collect();
        json!({"result": {"status": "Success"}, "convertedObjects": converted})
    })?;
    let version = |name: &str, field: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "selectableFields": [{"jsonPath": format!(".spec.{field}")}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {field: {"type": "string"}}}}}}})
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ends.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "ends", "kind": "End"},
            "versions": [version("v1", "host", true), version("v2", "hostname", false)],
            "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("{}/convert", webhook.url), "caBundle": webhook.ca_bundle}}}},
    });
    cluster.apply(&definition.to_string())?;
    cluster.k("wait --for=condition=Established --timeout=5s crd/ends.example.com")?;
    let end = |version: &str, name: &str, field: &str| {
        format!(
            "apiVersion: example.com/{version}\nkind: End\nmetadata: {{name: {name}}}\nspec: {{{field}: at-{name}}}\n"
        )
    };
    cluster.apply(&end("v1", "a", "host"))?;
    cluster.apply(&end("v2", "b", "hostname"))?;
    ensure!(cluster.field("ends.v1.example.com", "{.items[*].spec.host}")? == "at-a at-b");
    ensure!(cluster.field("ends.v2.example.com", "{.items[*].spec.hostname}")? == "at-a at-b");
    ensure!(
        cluster.k("get ends --field-selector spec.hostname=at-b -o name")? == "end.example.com/b\n"
    );
    cluster
        .kubectl(&["patch", "end", "a", "--type=merge", "-p", r#"{"spec":{"hostname":"new"}}"#])?
        .ok()?;
    ensure!(
        cluster.field("ends.v1.example.com a", "{.spec.host} {.metadata.generation}")? == "new 2"
    );
    Ok(())
}
