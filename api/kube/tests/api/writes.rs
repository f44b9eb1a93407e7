//! create, update and patch.

use bytes::Bytes;
use keelson_kube_api::UserInfo;
use serde_json::json;

use crate::cluster::{CONFIG_MAPS, Cluster, config_map};

#[tokio::test]
async fn an_object_comes_back_with_what_the_server_says_of_it() {
    let c = Cluster::start().await;
    let made = c.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        assert!(made.body["metadata"][field].is_string(), "{field}");
    }
    assert_eq!(made.body["metadata"]["namespace"], "default");
    let read = c.get(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(read.body, made.body);
    let again = c.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!((again.code, again.message()), (409, "configmaps \"a\" already exists"));
}

#[tokio::test]
async fn a_generated_name_begins_as_asked() {
    let c = Cluster::start().await;
    let made = c.post(CONFIG_MAPS, json!({"metadata": {"generateName": "x-"}})).await;
    let name = made.body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("x-") && name.len() == 7, "{name}");
}

#[tokio::test]
async fn a_stale_version_loses_and_no_version_wins() {
    let c = Cluster::start().await;
    let first = c.post(CONFIG_MAPS, config_map("a")).await.body;
    let path = format!("{CONFIG_MAPS}/a");
    let mut second = first.clone();
    second["data"]["k"] = json!("w");
    assert_eq!(c.put(&path, second).await.code, 200);
    let stale = c.put(&path, first).await;
    assert_eq!(stale.code, 409);
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    assert_eq!(c.put(&path, config_map("a")).await.code, 200);
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_version() {
    let c = Cluster::start().await;
    let first = c.post(CONFIG_MAPS, config_map("a")).await;
    let path = format!("{CONFIG_MAPS}/a");
    let same = c.put(&path, config_map("a")).await;
    assert_eq!(same.version(), first.version());
    let patched = c.merge(&path, json!({"data": {"k": "v"}})).await;
    assert_eq!(patched.version(), first.version());
    let changed = c.merge(&path, json!({"data": {"k": null}})).await;
    assert!(changed.version() > first.version());
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let c = Cluster::start().await;
    let made = c.post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("a")).await;
    assert_eq!(made.code, 201);
    assert_eq!(c.get(&format!("{CONFIG_MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_dropped() {
    let c = Cluster::start().await;
    let body = json!({"metadata": {"name": "a"}, "dat": {}});
    let strict = c.post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), body.clone()).await;
    assert_eq!(strict.code, 400);
    assert!(strict.message().contains("strict decoding error: unknown field \"dat\""));
    let warned = c.post(CONFIG_MAPS, body.clone()).await;
    assert_eq!((warned.code, warned.warnings.len()), (201, 1));
    assert_eq!(warned.warnings[0], "299 - \"unknown field \\\"dat\\\"\"");
    let dropped = c.put(&format!("{CONFIG_MAPS}/a?fieldValidation=Ignore"), body).await;
    assert_eq!((dropped.code, dropped.warnings.len()), (200, 0));
}

#[tokio::test]
async fn bad_bodies_get_the_error_that_users_know() {
    let c = Cluster::start().await;
    let admin = UserInfo::admin;
    let yaml = Bytes::from_static(b"a: b: c");
    let answer = c.call(admin(), "POST", CONFIG_MAPS, "application/yaml", yaml).await;
    assert_eq!(answer.code, 400);
    let big = Bytes::from(vec![b' '; (3 << 20) + 1]);
    let answer = c.call(admin(), "POST", CONFIG_MAPS, "application/json", big).await;
    assert_eq!((answer.code, &answer.body["reason"]), (413, &json!("RequestEntityTooLarge")));
    let text = Bytes::from_static(b"{}");
    let answer = c.call(admin(), "POST", CONFIG_MAPS, "text/plain", text).await;
    assert_eq!(answer.code, 415);
    let answer = c.post(CONFIG_MAPS, json!({"metadata": {"name": "a"}, "data": 3})).await;
    assert_eq!(answer.code, 400);
    assert!(answer.message().contains("cannot unmarshal number"), "{}", answer.message());
    let answer = c.post("/api/v1/namespaces/nope/configmaps", config_map("a")).await;
    assert_eq!((answer.code, answer.message()), (404, "namespaces \"nope\" not found"));
    let mut elsewhere = config_map("a");
    elsewhere["metadata"]["namespace"] = json!("other");
    let answer = c.post(CONFIG_MAPS, elsewhere).await;
    assert_eq!(answer.code, 400);
}

#[tokio::test]
async fn protobuf_is_read() {
    let c = Cluster::start().await;
    let body: &[u8] = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v";
    let media = "application/vnd.kubernetes.protobuf";
    let made =
        c.call(UserInfo::admin(), "POST", CONFIG_MAPS, media, Bytes::from_static(body)).await;
    assert_eq!((made.code, &made.body["data"]["k"]), (201, &json!("v")), "{}", made.body);
}

#[tokio::test]
async fn status_and_spec_have_paths_of_their_own() {
    let c = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let made = c.post(path, deployment).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["metadata"]["generation"], 1);
    let own = format!("{path}/d");
    let patch = json!({"spec": {"replicas": 9}, "status": {"replicas": 1}});
    let status = c.merge(&format!("{own}/status"), patch).await;
    assert_eq!(
        (&status.body["spec"]["replicas"], &status.body["status"]["replicas"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(status.body["metadata"]["generation"], 1);
    let wanted =
        json!({"metadata": {"name": "d", "namespace": "default"}, "spec": {"replicas": 5}});
    let scaled = c.put(&format!("{own}/scale"), wanted).await;
    assert_eq!(
        (&scaled.body["kind"], &scaled.body["status"]["selector"]),
        (&json!("Scale"), &json!("a=b"))
    );
    let now = c.get(&own).await.body;
    assert_eq!((&now["spec"]["replicas"], &now["metadata"]["generation"]), (&json!(5), &json!(2)));
    assert_eq!(now["status"]["replicas"], 1);
}

#[tokio::test]
async fn apply_makes_what_is_missing_and_merges_what_is_there() {
    let c = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}/a?fieldManager=t");
    let apply = |data: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let media = "application/apply-patch+yaml";
    let made = c.admin("PATCH", &path, media, apply(json!({"x": "1"}))).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let other = format!("{CONFIG_MAPS}/a?fieldManager=u");
    let merged = c.admin("PATCH", &other, media, apply(json!({"y": "2"}))).await;
    assert_eq!((merged.code, &merged.body["data"]), (200, &json!({"x": "1", "y": "2"})));
    let again = c.admin("PATCH", &path, media, apply(json!({"z": "3"}))).await;
    assert_eq!((again.code, &again.body["data"]), (200, &json!({"y": "2", "z": "3"})));
    let same = c.admin("PATCH", &path, media, apply(json!({"z": "3"}))).await;
    assert_eq!(same.body, again.body);
    let refused = c.admin("PATCH", &path, media, apply(json!({"y": "9"}))).await;
    assert_eq!((refused.code, &refused.body["reason"]), (409, &json!("Conflict")));
    assert_eq!(refused.body["details"]["causes"][0]["field"], ".data.y");
    let forced =
        c.admin("PATCH", &format!("{path}&force=true"), media, apply(json!({"y": "9"}))).await;
    assert_eq!((forced.code, &forced.body["data"]), (200, &json!({"y": "9"})));
}

#[tokio::test]
async fn both_apis_of_events_share_one_store() {
    let c = Cluster::start().await;
    let event = json!({"metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default", "uid": "u"},
        "note": "hello", "reason": "Started", "type": "Normal", "action": "Start",
        "reportingController": "kubelet", "reportingInstance": "n", "eventTime": "2026-01-01T00:00:00.000000Z"});
    let made = c.post("/apis/events.k8s.io/v1/namespaces/default/events", event).await;
    assert_eq!((made.code, &made.body["note"]), (201, &json!("hello")), "{}", made.body);
    let core = c.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.uid=u").await;
    assert_eq!(core.names(), ["e"]);
    assert_eq!(core.body["items"][0]["message"], "hello");
    let new = c.get("/apis/events.k8s.io/v1/events").await;
    assert_eq!(new.body["items"][0]["apiVersion"], "events.k8s.io/v1");
}
