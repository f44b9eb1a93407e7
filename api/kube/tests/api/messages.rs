//! Answers in protobuf hold what the same answers in JSON hold.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use keelson_kube_api::{Body, UserInfo, protobuf};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PODS, pod};

const MEDIA: &str = "application/vnd.kubernetes.protobuf";
const POD: &str = "io.k8s.api.core.v1.Pod";

async fn open(c: &Cluster, path: &str, accept: &str) -> http::Response<Body> {
    let request = http::Request::get(path).header("accept", accept);
    let request = request.body(Full::<Bytes>::default()).unwrap();
    c.send(UserInfo::admin(), request).await
}

/// The content type and the object of an answer.
async fn get(c: &Cluster, path: &str, accept: &str, schema: &str) -> (String, Value) {
    let response = open(c, path, accept).await;
    let media = response.headers()["content-type"].to_str().unwrap().to_owned();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (media, protobuf::read(schema, &bytes).unwrap())
}

#[tokio::test]
async fn objects_and_lists_are_the_same_in_both() {
    let c = Cluster::start().await;
    for name in ["a", "b"] {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "100m"}});
        assert_eq!(c.post(PODS, pod).await.code, 201);
    }
    let one = format!("{PODS}/a");
    // What typed clients ask for.
    let accept = format!("{MEDIA},application/json");
    let (media, object) = get(&c, &one, &accept, POD).await;
    assert_eq!((media.as_str(), &object), (MEDIA, &c.get(&one).await.body));

    let (_, list) = get(&c, PODS, &accept, "io.k8s.api.core.v1.PodList").await;
    let mut wanted = c.get(PODS).await.body;
    for item in wanted["items"].as_array_mut().unwrap() {
        // Items have no envelope of their own.
        let item = item.as_object_mut().unwrap();
        item.shift_remove("apiVersion");
        item.shift_remove("kind");
    }
    assert_eq!(list, wanted);
}

#[tokio::test]
async fn what_has_no_message_is_json() {
    let c = Cluster::start().await;
    let response = open(&c, "/api/v1", &format!("{MEDIA},application/json")).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let table = format!("{MEDIA};as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(open(&c, PODS, &table).await.status(), 406);
}

#[tokio::test]
async fn a_watch_tells_frames() {
    let c = Cluster::start().await;
    assert_eq!(c.post(PODS, pod("a")).await.code, 201);
    let response = open(&c, &format!("{PODS}?watch=1&resourceVersion=0"), MEDIA).await;
    assert_eq!(response.headers()["content-type"], format!("{MEDIA};stream=watch"));
    let mut body = response.into_body();
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let (length, event) = frame.split_at(4);
    assert_eq!(u32::from_be_bytes(length.try_into().unwrap()), u32::try_from(event.len()).unwrap());
    assert!(event.starts_with(b"\x0a\x05ADDED"), "{event:?}");
    let at = event.windows(4).position(|w| w == b"k8s\0").unwrap();
    let object = protobuf::read(POD, &event[at..]).unwrap();
    assert_eq!(object, c.get(&format!("{PODS}/a")).await.body);
}
