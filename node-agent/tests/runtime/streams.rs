//! Exec, attach and port-forward as clients of Kubernetes speak them.

use futures::{SinkExt, StreamExt};
use keelson_proto::cri;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{Fixture, can_run, command, script};

type Socket = WebSocketStream<TcpStream>;

async fn open(url: &str, protocol: &str) -> Socket {
    let url = url.replace("http://", "ws://");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    let address = request.uri().authority().unwrap().to_string();
    let stream = TcpStream::connect(address).await.unwrap();
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let chosen = response.headers()["sec-websocket-protocol"].to_str().unwrap();
    assert!(protocol.starts_with(chosen), "{chosen}");
    socket
}

async fn send(socket: &mut Socket, channel: u8, data: &[u8]) {
    let mut bytes = vec![channel];
    bytes.extend_from_slice(data);
    socket.send(Message::Binary(bytes.into())).await.unwrap();
}

/// Everything to the end: stdout, stderr, and what the error channel said.
async fn drain(socket: &mut Socket) -> (String, String, serde_json::Value) {
    let (mut out, mut err, mut status) = (Vec::new(), Vec::new(), serde_json::Value::Null);
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(data) = message else { continue };
        match data[0] {
            1 => out.extend_from_slice(&data[1..]),
            2 => err.extend_from_slice(&data[1..]),
            3 => status = serde_json::from_slice(&data[1..]).unwrap(),
            other => panic!("channel {other}"),
        }
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), status)
}

async fn exec_url(fixture: &mut Fixture, id: &str, script: &str, tty: bool) -> String {
    let request = cri::ExecRequest {
        container_id: id.to_owned(),
        cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    fixture.cri.exec(request).await.unwrap().into_inner().url
}

#[tokio::test]
async fn exec_streams_both_ways() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("ws");
    let sandbox = fixture.run_sandbox(&config).await;
    let id = fixture.run(&sandbox, command("a", &["sleep", "1000"])).await;
    let url = exec_url(&mut fixture, &id, "cat; echo err >&2; exit 7", false).await;
    let mut socket = open(&url, "v5.channel.k8s.io, v4.channel.k8s.io").await;
    send(&mut socket, 0, b"hello\n").await;
    send(&mut socket, 255, &[0]).await; // closes stdin: cat ends
    let (out, err, status) = drain(&mut socket).await;
    assert_eq!((out.as_str(), err.as_str()), ("hello\n", "err\n"));
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0]["message"], "7");

    // A URL is good once.
    let stream = TcpStream::connect(url.split('/').nth(2).unwrap()).await.unwrap();
    let again = url.replace("http://", "ws://").into_client_request().unwrap();
    assert!(tokio_tungstenite::client_async(again, stream).await.is_err());

    // Much output, and success.
    let url =
        exec_url(&mut fixture, &id, "dd if=/dev/zero bs=1k count=3000 2>/dev/null", false).await;
    let mut socket = open(&url, "v4.channel.k8s.io").await;
    let (out, _, status) = drain(&mut socket).await;
    assert_eq!(out.len(), 3_072_000);
    assert_eq!(status["status"], "Success");
}

#[tokio::test]
async fn exec_has_a_terminal() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("tty");
    let sandbox = fixture.run_sandbox(&config).await;
    let id = fixture.run(&sandbox, command("a", &["sleep", "1000"])).await;
    // A size and a line come by ways of their own: whichever is first.
    let told = "read line; tty; until stty size 2>/dev/null | grep 101; do sleep 0.05; done; echo got $line";
    let url = exec_url(&mut fixture, &id, told, true).await;
    let mut socket = open(&url, "v5.channel.k8s.io").await;
    send(&mut socket, 4, br#"{"Width":101,"Height":33}"#).await;
    send(&mut socket, 0, b"word\n").await;
    let (out, _, status) = drain(&mut socket).await;
    assert!(out.contains("/dev/pts/"), "{out}");
    assert!(out.contains("33 101"), "{out}");
    assert!(out.contains("got word"), "{out}");
    assert_eq!(status["status"], "Success");
}

#[tokio::test]
async fn attach_joins_a_container() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("attach");
    let sandbox = fixture.run_sandbox(&config).await;
    for tty in [false, true] {
        let mut config = script(if tty { "t" } else { "a" }, "read line; echo got $line");
        config.stdin = true;
        config.stdin_once = true;
        config.tty = tty;
        let id = fixture.run(&sandbox, config).await;
        let request = cri::AttachRequest {
            container_id: id.clone(),
            stdin: true,
            tty,
            stdout: true,
            stderr: !tty,
        };
        let url = fixture.cri.attach(request).await.unwrap().into_inner().url;
        let mut socket = open(&url, "v5.channel.k8s.io").await;
        send(&mut socket, 0, b"word\n").await;
        let (out, _, status) = drain(&mut socket).await;
        assert!(out.contains("got word"), "{out}");
        assert_eq!(status["status"], "Success");
        assert_eq!(fixture.ended(&id).await.exit_code, 0);
        let log = fixture.log("attach", if tty { "t/0.log" } else { "a/0.log" });
        assert!(log.contains("stdout F got word"), "{log}");
    }
}

#[tokio::test]
async fn ports_are_forwarded() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("ports");
    let sandbox = fixture.run_sandbox(&config).await;
    let serve = "echo ready; while true; do echo pong | nc -l -p 8080; done";
    let id = fixture.run(&sandbox, script("a", serve)).await;
    for _ in 0..500 {
        if fixture.output(&id, "cat /proc/net/tcp /proc/net/tcp6").await.contains(":1F90 ") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.clone(), port: vec![8080] };
    let url = fixture.cri.port_forward(request).await.unwrap().into_inner().url;
    let mut socket = open(&url, "v4.channel.k8s.io").await;
    let mut data = Vec::new();
    let mut numbers = 0;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        match (bytes[0], numbers) {
            (_, 0 | 1) => {
                assert_eq!(bytes[1..], 8080u16.to_le_bytes());
                numbers += 1;
            }
            (0, _) => data.extend_from_slice(&bytes[1..]),
            (channel, _) => panic!("{channel}: {}", String::from_utf8_lossy(&bytes[1..])),
        }
        if data.ends_with(b"pong\n") {
            break;
        }
    }
    assert_eq!(data, b"pong\n");
}
