//! Streams through a kubelet that is one end of a pipe.

use std::sync::Arc;

use async_trait::async_trait;
use keelson_kube_api::{Connection, KubeletDialer, NodeAddress};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{Cluster, PODS};

/// Answers every request with its own first line.
struct Echo;

#[async_trait]
impl KubeletDialer for Echo {
    async fn dial(&self, node: &NodeAddress) -> std::io::Result<Box<dyn Connection>> {
        assert_eq!((node.host.as_deref(), node.port), (Some("192.0.2.7"), 10_250));
        let (client, mut server) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let mut bytes = vec![0; 4096];
            let n = server.read(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
            let line = text.lines().next().unwrap_or_default();
            let code = if line.contains("missing") { "404 Not Found" } else { "200 OK" };
            let answer = format!(
                "HTTP/1.1 {code}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{line}",
                line.len()
            );
            server.write_all(answer.as_bytes()).await.unwrap();
        });
        Ok(Box::new(client))
    }
}

async fn cluster() -> Cluster {
    let c = Cluster::start_with(Some(Arc::new(Echo))).await;
    let node = json!({"metadata": {"name": "n"}});
    assert_eq!(c.post("/api/v1/nodes", node).await.code, 201);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}});
    assert_eq!(c.merge("/api/v1/nodes/n/status", status).await.code, 200);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [
        {"name": "a", "image": "i"}, {"name": "missing", "image": "i"}]}});
    assert_eq!(c.post(PODS, pod).await.code, 201);
    c
}

#[tokio::test]
async fn logs_come_from_the_node_of_the_pod() {
    let c = cluster().await;
    let log = c.get(&format!("{PODS}/p/log?container=a&tailLines=3&follow=false")).await;
    assert_eq!(log.code, 200, "{}", log.body);
    assert_eq!(log.body, "GET /containerLogs/default/p/a?tailLines=3&follow=false HTTP/1.1");
    let which = c.get(&format!("{PODS}/p/log")).await;
    assert_eq!(
        (which.code, which.message()),
        (400, "a container name must be specified for pod p, choose one of: [a missing]")
    );
    let none = c.get(&format!("{PODS}/p/log?container=x")).await;
    assert_eq!((none.code, none.message()), (400, "container x is not valid for pod p"));
    let refused = c.get(&format!("{PODS}/p/log?container=missing")).await;
    assert_eq!((refused.code, &refused.body["kind"]), (404, &json!("Status")));
}

#[tokio::test]
async fn a_node_is_reached_through_its_proxy_path() {
    let c = cluster().await;
    let answer = c.get("/api/v1/nodes/n/proxy/stats/summary?a=b").await;
    assert_eq!(answer.body, "GET /stats/summary?a=b HTTP/1.1");
}

#[tokio::test]
async fn exec_carries_its_options_to_the_kubelet() {
    let c = cluster().await;
    let query = "container=a&command=sh&command=-c&stdin=true&stdout=true&tty=true";
    let answer = c.get(&format!("{PODS}/p/exec?{query}")).await;
    assert_eq!(
        answer.body,
        "GET /exec/default/p/a?command=sh&command=-c&input=true&output=true&tty=true HTTP/1.1"
    );
}
