//! watch: what happened, once each, in order.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use keelson_kube_api::{Body, UserInfo};
use serde_json::{Value, json};

use crate::cluster::{CONFIG_MAPS, Cluster, config_map};

/// Reads a watch line by line.
struct Lines {
    body: Body,
    rest: Vec<u8>,
}

impl Lines {
    async fn open(c: &Cluster, query: &str) -> Self {
        let uri = format!("{CONFIG_MAPS}?watch=1&{query}");
        let request = http::Request::get(uri).body(Full::<Bytes>::default()).unwrap();
        let response = c.send(UserInfo::admin(), request).await;
        assert_eq!(response.status(), 200);
        Lines { body: response.into_body(), rest: Vec::new() }
    }

    /// The next event's type and object; None at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(at) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=at).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                return Some((event["type"].as_str()?.to_owned(), event["object"].clone()));
            }
            let frame = self.body.frame().await?.unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    async fn named(&mut self) -> (String, String) {
        let (kind, object) = self.next().await.unwrap();
        (kind, object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    }
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there() {
    let c = Cluster::start().await;
    c.post(CONFIG_MAPS, config_map("a")).await;
    let mut lines = Lines::open(
        &c,
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    )
    .await;
    assert_eq!(lines.named().await, event("ADDED", "a"));
    let (kind, object) = lines.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    c.merge(&format!("{CONFIG_MAPS}/a"), json!({"data": {"k": "w"}})).await;
    assert_eq!(lines.named().await, event("MODIFIED", "a"));
    let gone = c.delete(&format!("{CONFIG_MAPS}/a"), Value::Null).await;
    assert_eq!(gone.code, 200);
    let (kind, object) = lines.next().await.unwrap();
    assert_eq!((kind.as_str(), &object["data"]["k"]), ("DELETED", &json!("w")));
}

#[tokio::test]
async fn a_watch_resumes_after_a_list() {
    let c = Cluster::start().await;
    c.post(CONFIG_MAPS, config_map("a")).await;
    let version = c.get(CONFIG_MAPS).await.version();
    c.post(CONFIG_MAPS, config_map("b")).await;
    let mut lines = Lines::open(&c, &format!("resourceVersion={version}&timeoutSeconds=1")).await;
    assert_eq!(lines.named().await, event("ADDED", "b"));
    assert!(lines.next().await.is_none(), "the timeout ends the watch");
}

#[tokio::test]
async fn a_watch_from_before_the_history_says_so_in_an_event() {
    let c = Cluster::start().await;
    c.get(CONFIG_MAPS).await;
    let mut lines = Lines::open(&c, "resourceVersion=1").await;
    let (kind, object) = lines.next().await.unwrap();
    assert_eq!((kind.as_str(), &object["code"]), ("ERROR", &json!(410)));
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn leaving_a_selector_is_a_deletion() {
    let c = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}/a");
    c.post(CONFIG_MAPS, config_map("a")).await;
    let mut lines = Lines::open(&c, "labelSelector=x%3Dy").await;
    c.merge(&path, json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!(lines.named().await, event("ADDED", "a"));
    c.merge(&path, json!({"data": {"k": "w"}})).await;
    assert_eq!(lines.named().await, event("MODIFIED", "a"));
    let left = c.merge(&path, json!({"metadata": {"labels": {"x": "z"}}})).await;
    let (kind, object) = lines.next().await.unwrap();
    assert_eq!((kind.as_str(), &object["metadata"]["labels"]["x"]), ("DELETED", &json!("y")));
    assert_eq!(object["metadata"]["resourceVersion"], left.body["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn all_watchers_see_the_same_order() {
    let c = Cluster::start().await;
    let mut watchers = Vec::new();
    for _ in 0..20 {
        watchers.push(Lines::open(&c, "").await);
    }
    for i in 0..50 {
        c.post(CONFIG_MAPS, config_map(&format!("n{i}"))).await;
    }
    for lines in &mut watchers {
        for i in 0..50 {
            assert_eq!(lines.named().await, event("ADDED", &format!("n{i}")));
        }
    }
}
