//! The HTTP paths on the same port.

use keelson_etcd_api::FaceConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::member::{Member, start};

async fn ask(member: &Member, method: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(&member.address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

// upstream: etcd v3, HTTP endpoints
#[tokio::test(flavor = "multi_thread")]
async fn health_version_and_metrics() {
    let member = start(FaceConfig::default()).await;
    let (status, body) = ask(&member, "GET", "/health").await;
    assert_eq!((status, body.as_str()), (200, r#"{"health":"true","reason":""}"#));
    assert_eq!(ask(&member, "POST", "/health").await.0, 405);
    assert_eq!(ask(&member, "GET", "/livez").await, (200, "ok\n".to_owned()));
    let (status, body) = ask(&member, "GET", "/readyz?verbose").await;
    assert_eq!(status, 200);
    assert!(body.contains("[+]linearizable_read ok\n"), "{body}");
    assert_eq!(ask(&member, "GET", "/readyz/non_learner").await.0, 200);
    assert_eq!(ask(&member, "GET", "/readyz/other").await.0, 404);
    assert_eq!(ask(&member, "GET", "/other").await.0, 404);
    let (_, body) = ask(&member, "GET", "/version").await;
    assert_eq!(body, r#"{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}"#);
    let (_, body) = ask(&member, "GET", "/metrics").await;
    for line in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_cluster_version{cluster_version=\"3.7\"} 1",
        "etcd_debugging_mvcc_current_revision 1",
        "grpc_server_started_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 0",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 0",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} in {body}");
    }
    member.stop().await;
}
