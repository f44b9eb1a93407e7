//! Custom kinds: what kubectl does with a definition and with its objects.

use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::{Cluster, Settings, wait};

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.labelSelector}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec, description: When it runs}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Image, type: string, jsonPath: .spec.image, priority: 1}
    selectableFields: [{jsonPath: .spec.image}]
    schema:
      openAPIV3Schema:
        type: object
        description: A table of times
        required: [spec]
        properties:
          spec:
            type: object
            required: [cronSpec]
            x-kubernetes-validations:
            - {rule: 'self.replicas != 7', messageExpression: '"not " + string(self.replicas)', fieldPath: .replicas}
            properties:
              cronSpec: {type: string, pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$', description: Five fields}
              image: {type: string, default: busybox}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, port: {type: integer}}}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
"#;

const OBJECT: &str = r#"
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: one, labels: {app: x}}
spec: {cronSpec: "* * * * */5", port: http, free: {any: {thing: 1}}, ports: [{name: a, port: 1}]}
"#;

fn start() -> Result<Cluster> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    let made = cluster.apply(DEFINITION)?;
    ensure!(
        made == "customresourcedefinition.apiextensions.k8s.io/crontabs.stable.example.com created\n",
        "{made}"
    );
    cluster.k("wait --for=condition=Established --timeout=5s crd/crontabs.stable.example.com")?;
    Ok(cluster)
}

#[test]
fn a_definition_makes_a_kind() -> Result<()> {
    let cluster = start()?;
    let resources = cluster.k("api-resources --api-group=stable.example.com --no-headers")?;
    let words: Vec<&str> = resources.split_whitespace().collect();
    ensure!(words == ["crontabs", "ct", "stable.example.com/v1", "true", "CronTab"], "{resources}");
    let explained = cluster.k("explain crontab.spec.cronSpec")?;
    ensure!(explained.contains("Five fields") && explained.contains("<string>"), "{explained}");

    ensure!(cluster.apply(OBJECT)? == "crontab.stable.example.com/one created\n");
    ensure!(cluster.apply(OBJECT)? == "crontab.stable.example.com/one unchanged\n");
    let spec = cluster.field("ct one", "{.spec}")?;
    let wanted = r#"{"cronSpec":"* * * * */5","free":{"any":{"thing":1}},"image":"busybox","port":"http","ports":[{"name":"a","port":1}],"replicas":1}"#;
    ensure!(spec == wanted, "{spec}");
    let table = cluster.k("get ct")?;
    let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    ensure!(rows[0] == ["NAME", "SPEC", "REPLICAS", "READY"], "{table}");
    ensure!(rows[1] == ["one", "*", "*", "*", "*", "*/5", "1"], "{table}");
    ensure!(cluster.k("get all --no-headers")?.contains("crontab.stable.example.com/one"));
    ensure!(cluster.k("get ct -o wide")?.contains("busybox"));
    ensure!(cluster.k("get ct --field-selector spec.image=busybox -o name")?.contains("/one"));
    ensure!(cluster.k("get ct --field-selector spec.image=other -o name")?.is_empty());
    ensure!(cluster.k("describe ct one")?.contains("Cron Spec:  * * * * */5"));

    // Patches: JSON and merge, not strategic; generation counts changes of all but metadata.
    let merge = ["patch", "ct", "one", "--type=merge", "-p", r#"{"spec":{"replicas":3}}"#];
    cluster.kubectl(&merge)?.ok()?;
    let json = r#"[{"op":"replace","path":"/spec/port","value":80}]"#;
    cluster.kubectl(&["patch", "ct", "one", "--type=json", "-p", json])?.ok()?;
    cluster.k("label ct one x=y")?;
    ensure!(cluster.field("ct one", "{.metadata.generation} {.spec.port}")? == "3 80");
    let strategic = ["patch", "ct", "one", "--type=strategic", "-p", "{}"];
    let refused = cluster.kubectl(&strategic)?.failed()?;
    ensure!(
        refused.contains("unknown format")
            || refused.contains("UnsupportedMediaType")
            || refused.contains("strategic merge patch"),
        "{refused}"
    );

    // Status and scale have their own paths.
    let status = r#"{"spec":{"replicas":9},"status":{"replicas":2,"labelSelector":"a=b","conditions":[{"type":"Ready","status":"True"}]}}"#;
    cluster.kubectl(&["patch", "ct", "one", "--type=merge", "-p", status])?.ok()?;
    ensure!(cluster.field("ct one", "{.spec.replicas}{.status}")? == "9");
    cluster
        .kubectl(&[
            "patch",
            "ct",
            "one",
            "--subresource=status",
            "--type=merge",
            "-p",
            &status.replace('9', "4"),
        ])?
        .ok()?;
    ensure!(
        cluster.field("ct one", "{.spec.replicas} {.status.replicas} {.metadata.generation}")?
            == "9 2 4"
    );
    ensure!(cluster.k("get ct one --no-headers")?.contains("True"));
    cluster.k("scale ct one --replicas=5")?;
    ensure!(cluster.field("ct one", "{.spec.replicas}")? == "5");
    let scale =
        cluster.k("get --raw /apis/stable.example.com/v1/namespaces/default/crontabs/one/scale")?;
    ensure!(
        scale.contains(r#""spec":{"replicas":5},"status":{"replicas":2,"selector":"a=b"}"#),
        "{scale}"
    );
    cluster
        .kubectl(&["wait", "--for=jsonpath={.status.replicas}=2", "ct/one", "--timeout=2s"])?
        .ok()?;

    // Server-side apply goes by the schema: items of a keyed list belong to their managers.
    cluster.kubectl_with(&["create", "-f", "-"], &OBJECT.replace("one", "two"))?.ok()?;
    let theirs = "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {name: two}\nspec: {cronSpec: \"* * * * */5\", ports: [{name: b, port: 2}]}\n";
    let apply = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    cluster.kubectl_with(&apply, theirs)?.ok()?;
    ensure!(cluster.field("ct two", "{.spec.ports[*].name}")? == "a b");

    // What the definition gains and loses, stored objects gain and lose when they are read.
    let changed = DEFINITION
        .replace("image: {type: string, default: busybox}", "gained: {type: string, default: new}")
        .replace(".spec.image", ".spec.gained");
    cluster.apply(&changed)?;
    let shown = "-o=jsonpath={.items[*].spec.gained}{.items[*].spec.image}";
    wait::until("the change", Duration::from_secs(5), || {
        let list = cluster.kubectl(&["get", "ct", "--field-selector=spec.gained=new", shown]);
        Ok(list?.out.eq("new new").then_some(()))
    })?;
    ensure!(cluster.field("ct two", "{.spec.gained}{.spec.image}")? == "new");
    Ok(())
}

#[test]
fn what_the_schema_refuses_is_said_in_its_words() -> Result<()> {
    let cluster = start()?;
    let bad =
        OBJECT.replace("* * * * */5", "often").replace("port: http", "port: true, replicas: 11");
    let refused = cluster.kubectl_with(&["create", "-f", "-"], &bad)?.failed()?;
    for text in [
        "The CronTab \"one\" is invalid:",
        "* spec.cronSpec: Invalid value: \"often\": spec.cronSpec in body should match '^(\\d+|\\*)",
        "* spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        "* spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
    ] {
        ensure!(refused.contains(text), "{text} is missing in\n{refused}");
    }
    let unlucky = OBJECT.replace("port: http", "replicas: 7");
    let refused = cluster.kubectl_with(&["create", "-f", "-"], &unlucky)?.failed()?;
    ensure!(refused.contains("spec.replicas: Invalid value: not 7"), "{refused}");
    let unknown = OBJECT.replace("port: http", "prot: http");
    let refused = cluster.kubectl_with(&["create", "-f", "-"], &unknown)?.failed()?;
    ensure!(refused.contains("strict decoding error: unknown field \"spec.prot\""), "{refused}");
    let warned = cluster.kubectl_with(&["create", "--validate=warn", "-f", "-"], &unknown)?;
    ensure!(warned.err.contains("Warning: unknown field \"spec.prot\""), "{}", warned.err);
    ensure!(cluster.field("ct one", "{.spec.prot}")?.is_empty());

    let wrong =
        DEFINITION.replace("image: {type: string, default: busybox}", "image: {default: 1}");
    let refused = cluster.kubectl_with(&["apply", "-f", "-"], &wrong)?.failed()?;
    ensure!(
        refused.contains("spec.validation.openAPIV3Schema.properties[spec].properties[image].type: Required value: must not be empty for specified object fields"),
        "{refused}"
    );

    // Names that are taken are not given twice.
    let other = DEFINITION
        .replace("crontabs", "tables")
        .replace("crontab,", "table,")
        .replace("CronTab", "Table");
    cluster.apply(&other)?;
    cluster
        .k("wait --for=condition=NamesAccepted=false --timeout=5s crd/tables.stable.example.com")?;
    let why = cluster.field(
        "crd tables.stable.example.com",
        "{.status.conditions[0].reason} {.status.conditions[0].message}",
    )?;
    ensure!(why == "ShortNamesConflict \"ct\" is already in use", "{why}");
    Ok(())
}

#[test]
fn objects_go_with_their_definition() -> Result<()> {
    let cluster = start()?;
    cluster.apply(OBJECT)?;
    cluster
        .kubectl(&[
            "patch",
            "ct",
            "one",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":["example.com/x"]}}"#,
        ])?
        .ok()?;
    cluster.k("delete crd crontabs.stable.example.com --wait=false")?;
    cluster.k("wait --for=jsonpath={.status.conditions[?(@.type==\"Terminating\")].reason}=InstanceDeletionInProgress --timeout=5s crd/crontabs.stable.example.com")?;
    let refused =
        cluster.kubectl_with(&["create", "-f", "-"], &OBJECT.replace("one", "two"))?.failed()?;
    ensure!(
        refused.contains("create not allowed while custom resource definition is terminating"),
        "{refused}"
    );
    cluster
        .kubectl(&[
            "patch",
            "ct",
            "one",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ])?
        .ok()?;
    cluster.k("wait --for=delete --timeout=10s crd/crontabs.stable.example.com")?;
    let gone =
        cluster.kubectl(&["get", "--raw", "/apis/stable.example.com/v1/crontabs"])?.failed()?;
    ensure!(gone.contains("could not find the requested resource"), "{gone}");
    // Defined again it begins empty.
    cluster.apply(DEFINITION)?;
    cluster.k("wait --for=condition=Established --timeout=5s crd/crontabs.stable.example.com")?;
    ensure!(cluster.k("get ct -o name")?.is_empty());
    Ok(())
}

#[test]
fn a_large_definition_is_taken_and_served() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    let field = |at: usize| {
        let text = "What this field means, in as many words as generated definitions have. ";
        let item = format!(
            r#"{{"type": "object", "required": ["name"], "properties": {{"name": {{"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}}, "weight": {{"type": "integer", "default": {at}, "description": "{text}"}}}}}}"#
        );
        format!(
            r#""field{at}": {{"type": "array", "maxItems": 16, "description": "{}", "items": {item}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}}"#,
            text.repeat(4)
        )
    };
    let fields: Vec<String> = (0..640).map(field).collect();
    let large = format!(
        r#"{{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {{"name": "larges.example.com"}},
        "spec": {{"group": "example.com", "scope": "Cluster", "names": {{"plural": "larges", "kind": "Large"}},
        "versions": [{{"name": "v1", "served": true, "storage": true, "schema": {{"openAPIV3Schema": {{"type": "object",
        "properties": {{"spec": {{"type": "object", "properties": {{{}}}}}}}}}}}}}]}}}}"#,
        fields.join(",")
    );
    ensure!(large.len() > 442 << 10, "{}", large.len());
    cluster.kubectl_with(&["apply", "--server-side", "-f", "-"], &large)?.ok()?;
    cluster.k("wait --for=condition=Established --timeout=5s crd/larges.example.com")?;
    let object = "apiVersion: example.com/v1\nkind: Large\nmetadata: {name: one}\nspec: {field7: [{name: a}]}\n";
    cluster.kubectl_with(&["apply", "--server-side", "-f", "-"], object)?.ok()?;
    ensure!(cluster.field("large one", "{.spec.field7[0].weight}")? == "7");
    ensure!(cluster.k("explain large.spec.field639.weight")?.contains("What this field means"));
    Ok(())
}
