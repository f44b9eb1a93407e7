//! delete and deletecollection: grace, finalizers, preconditions.

use serde_json::{Value, json};

use crate::cluster::{CONFIG_MAPS, Cluster, PODS, config_map, pod};

#[tokio::test]
async fn a_delete_names_what_is_gone() {
    let c = Cluster::start().await;
    let made = c.post(CONFIG_MAPS, config_map("a")).await;
    let path = format!("{CONFIG_MAPS}/a");
    let gone = c.delete(&path, Value::Null).await;
    assert_eq!((gone.code, &gone.body["status"]), (200, &json!("Success")));
    assert_eq!(gone.body["details"]["uid"], made.body["metadata"]["uid"]);
    let again = c.delete(&path, Value::Null).await;
    assert_eq!((again.code, again.message()), (404, "configmaps \"a\" not found"));
}

#[tokio::test]
async fn preconditions_are_checked() {
    let c = Cluster::start().await;
    c.post(CONFIG_MAPS, config_map("a")).await;
    let answer =
        c.delete(&format!("{CONFIG_MAPS}/a"), json!({"preconditions": {"uid": "x"}})).await;
    assert_eq!(answer.code, 409);
    assert!(answer.message().contains("Precondition failed: UID in precondition: x"));
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let c = Cluster::start().await;
    let mut object = config_map("a");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    c.post(CONFIG_MAPS, object).await;
    let path = format!("{CONFIG_MAPS}/a");
    let pending = c.delete(&path, Value::Null).await;
    assert!(pending.body["metadata"]["deletionTimestamp"].is_string(), "{}", pending.body);
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    assert_eq!(c.merge(&path, more).await.code, 422);
    let last = c.merge(&path, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(last.code, 200, "{}", last.body);
    assert_eq!(c.get(&path).await.code, 404);
}

#[tokio::test]
async fn foreground_leaves_the_object_to_the_collector() {
    let c = Cluster::start().await;
    c.post(CONFIG_MAPS, config_map("a")).await;
    let path = format!("{CONFIG_MAPS}/a");
    let pending = c.delete(&path, json!({"propagationPolicy": "Foreground"})).await;
    assert_eq!(pending.body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let bad = c.delete(&path, json!({"propagationPolicy": "Never"})).await;
    assert_eq!(bad.code, 422);
}

#[tokio::test]
async fn a_running_pod_gets_its_grace_and_the_kubelet_ends_it() {
    let c = Cluster::start().await;
    let made = c.post(PODS, pod("p")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let bound = c.post(&format!("{PODS}/p/binding"), binding.clone()).await;
    assert_eq!(bound.code, 201, "{}", bound.body);
    assert_eq!(c.post(&format!("{PODS}/p/binding"), binding).await.code, 409);
    let path = format!("{PODS}/p");
    let pending = c.delete(&path, json!({"gracePeriodSeconds": 20})).await;
    assert_eq!(pending.body["metadata"]["deletionGracePeriodSeconds"], 20);
    let longer = c.delete(&path, json!({"gracePeriodSeconds": 60})).await;
    assert_eq!(longer.body["metadata"]["deletionGracePeriodSeconds"], 20);
    let shorter = c.delete(&path, json!({"gracePeriodSeconds": 5})).await;
    assert_eq!(shorter.body["metadata"]["deletionGracePeriodSeconds"], 5);
    assert_eq!(c.get(&path).await.code, 200);
    assert_eq!(c.delete(&path, json!({"gracePeriodSeconds": 0})).await.code, 200);
    assert_eq!(c.get(&path).await.code, 404);
}

#[tokio::test]
async fn a_namespace_stays_until_it_is_finalized_and_takes_nothing_new() {
    let c = Cluster::start().await;
    let made = c.post("/api/v1/namespaces", json!({"metadata": {"name": "x"}})).await;
    assert_eq!(made.body["spec"]["finalizers"], json!(["kubernetes"]), "{}", made.body);
    let pending = c.delete("/api/v1/namespaces/x", Value::Null).await;
    assert_eq!(pending.body["status"]["phase"], "Terminating", "{}", pending.body);
    let refused = c.post("/api/v1/namespaces/x/configmaps", config_map("a")).await;
    assert_eq!(refused.code, 403, "{}", refused.body);
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut done = pending.body.clone();
    done["spec"]["finalizers"] = json!([]);
    assert_eq!(c.put("/api/v1/namespaces/x/finalize", done).await.code, 200);
    assert_eq!(c.get("/api/v1/namespaces/x").await.code, 404);
    let immortal = c.delete("/api/v1/namespaces/default", Value::Null).await;
    assert_eq!(immortal.code, 403);
}

#[tokio::test]
async fn a_collection_goes_by_selector() {
    let c = Cluster::start().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"l": label});
        c.post(CONFIG_MAPS, object).await;
    }
    let gone = c.delete(&format!("{CONFIG_MAPS}?labelSelector=l%3Dx"), Value::Null).await;
    assert_eq!(gone.names(), ["a", "c"]);
    assert_eq!(c.get(CONFIG_MAPS).await.names(), ["b"]);
}
