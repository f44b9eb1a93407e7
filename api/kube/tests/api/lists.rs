//! list: revisions, pages, selectors, views.

use keelson_client::Store;
use serde_json::{Value, json};

use crate::cluster::{CONFIG_MAPS, Cluster, config_map};

async fn filled(names: &[&str]) -> Cluster {
    let c = Cluster::start().await;
    for name in names {
        c.post(CONFIG_MAPS, config_map(name)).await;
    }
    c
}

#[tokio::test]
async fn pages_show_one_revision_and_end() {
    let c = filled(&["a", "b", "c", "d", "e"]).await;
    let first = c.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(first.names(), ["a", "b"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 3);
    c.delete(&format!("{CONFIG_MAPS}/c"), Value::Null).await;
    let token = first.body["metadata"]["continue"].as_str().unwrap();
    let second = c.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!(second.names(), ["c", "d"], "{}", second.body);
    assert_eq!(second.version(), first.version());
    let token = second.body["metadata"]["continue"].as_str().unwrap();
    let last = c.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!(last.names(), ["e"]);
    assert!(last.body["metadata"]["continue"].is_null());
}

#[tokio::test]
async fn an_expired_page_comes_with_a_way_on() {
    let c = filled(&["a", "b", "c"]).await;
    let first = c.get(&format!("{CONFIG_MAPS}?limit=1")).await;
    c.post(CONFIG_MAPS, config_map("b2")).await;
    c.store.compact(first.version() + 1, true).await.unwrap();
    let token = first.body["metadata"]["continue"].as_str().unwrap();
    let expired = c.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await;
    assert_eq!((expired.code, &expired.body["reason"]), (410, &json!("Expired")));
    let token = expired.body["metadata"]["continue"].as_str().unwrap();
    let rest = c.get(&format!("{CONFIG_MAPS}?continue={token}")).await;
    assert_eq!(rest.names(), ["b", "b2", "c"]);
}

#[tokio::test]
async fn a_revision_can_be_exact_or_not_older() {
    let c = filled(&["a"]).await;
    let then = c.get(CONFIG_MAPS).await.version();
    c.post(CONFIG_MAPS, config_map("b")).await;
    let list = |query: String| {
        let c = &c;
        async move { c.get(&format!("{CONFIG_MAPS}?{query}")).await }
    };
    let exact = list(format!("resourceVersion={then}&resourceVersionMatch=Exact")).await;
    assert_eq!(exact.names(), ["a"]);
    let legacy = list(format!("resourceVersion={then}&limit=500")).await;
    assert_eq!(legacy.names(), ["a"]);
    let newest = c.get(CONFIG_MAPS).await;
    assert_eq!(newest.names(), ["a", "b"]);
    let newer = list(format!("resourceVersion={then}&resourceVersionMatch=NotOlderThan")).await;
    assert!(newer.version() >= newest.version());
    for (query, code) in [
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Bad", 422),
        ("resourceVersion=x", 422),
        ("sendInitialEvents=true", 422),
        ("continue=x", 400),
        ("limit=x", 400),
        ("labelSelector=a+in", 400),
        ("fieldSelector=spec.x=y", 400),
    ] {
        assert_eq!(list(query.to_owned()).await.code, code, "{query}");
    }
}

#[tokio::test]
async fn selectors_choose() {
    let c = filled(&["a", "b"]).await;
    c.merge(&format!("{CONFIG_MAPS}/a"), json!({"metadata": {"labels": {"x": "y"}}})).await;
    let names = |query: &'static str| {
        let c = &c;
        async move { c.get(&format!("{CONFIG_MAPS}?{query}")).await.names().join(",") }
    };
    assert_eq!(names("labelSelector=x%20in%20(y,z)").await, "a");
    assert_eq!(names("labelSelector=!x").await, "b");
    assert_eq!(names("fieldSelector=metadata.name%3Db").await, "b");
    assert_eq!(names("fieldSelector=metadata.name!%3Db").await, "a");
}

#[tokio::test]
async fn tables_and_metadata_are_views_of_the_same_objects() {
    let c = filled(&["a"]).await;
    let view = |accept: &'static str| {
        let c = &c;
        async move {
            use http_body_util::BodyExt as _;
            let request = http::Request::get(CONFIG_MAPS).header("accept", accept);
            let request = request.body(http_body_util::Full::default()).unwrap();
            let response = c.send(keelson_kube_api::UserInfo::admin(), request).await;
            let code = response.status().as_u16();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            (code, serde_json::from_slice::<Value>(&bytes).unwrap_or_default())
        }
    };
    let (_, table) = view("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
    let (_, partial) =
        view("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await;
    assert_eq!(partial["items"][0]["metadata"]["name"], "a");
    assert!(partial["items"][0]["data"].is_null());
    assert_eq!(view("text/html").await.0, 406);
}
