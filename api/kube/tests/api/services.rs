//! Addresses and ports of Services.

use serde_json::json;

use crate::cluster::Cluster;

const SERVICES: &str = "/api/v1/namespaces/default/services";

#[tokio::test]
async fn a_service_gets_an_address_and_keeps_it() {
    let c = Cluster::start().await;
    let kubernetes = c.get(&format!("{SERVICES}/kubernetes")).await;
    assert_eq!(kubernetes.body["spec"]["clusterIP"], "10.96.0.1");
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let made = c.post(SERVICES, service).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let spec = &made.body["spec"];
    assert!(spec["clusterIP"].as_str().unwrap().starts_with("10."));
    assert_eq!(spec["clusterIPs"][0], spec["clusterIP"]);
    let port = spec["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30_000..=32_767).contains(&port));
    let taken = json!({"metadata": {"name": "t"}, "spec": {"clusterIP": spec["clusterIP"], "ports": [{"port": 80}]}});
    let refused = c.post(SERVICES, taken).await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    assert!(refused.message().contains("provided IP is already allocated"));
    let bare =
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let kept = c.put(&format!("{SERVICES}/s"), bare).await;
    assert_eq!(kept.body["spec"]["clusterIP"], spec["clusterIP"], "{}", kept.body);
    assert_eq!(kept.body["spec"]["ports"][0]["nodePort"], port);
    let headless =
        json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
    assert_eq!(c.post(SERVICES, headless).await.body["spec"]["clusterIPs"], json!(["None"]));
}
