//! By hyper's client, which nobody here wrote.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keelson_http2::Config;

use crate::service::{Echo, served};

async fn client(echo: &Echo, config: Config) -> SendRequest<Full<Bytes>> {
    let (socket, _) = served(echo, config);
    let builder = Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

fn call(path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::post(format!("http://somewhere{path}"));
    request.header("content-type", "application/grpc").body(Full::new(body)).unwrap()
}

async fn read(response: Response<Incoming>) -> (Bytes, Option<String>) {
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    let status = trailers.and_then(|trailers| {
        let status = trailers.get("grpc-status").or_else(|| trailers.get("after"))?.clone();
        Some(status.to_str().unwrap().to_owned())
    });
    (collected.to_bytes(), status)
}

#[tokio::test]
async fn calls_are_answered_side_by_side() {
    let echo = Echo::default();
    let sender = client(&echo, Config::default()).await;
    let calls = (0..500).map(|number| {
        let mut sender = sender.clone();
        async move {
            let message = format!("message {number}");
            sender.ready().await.unwrap();
            let response = sender.send_request(call("/unary", framed(message.as_bytes()))).await;
            let response = response.unwrap();
            assert_eq!(response.headers()["content-type"], "application/grpc");
            let (body, status) = read(response).await;
            assert_eq!(body, framed(message.as_bytes()));
            assert_eq!(status.as_deref(), Some("0"));
        }
    });
    futures::future::join_all(calls).await;
    assert_eq!(echo.0.whole.load(Ordering::SeqCst), 500);
}

#[tokio::test]
async fn long_answers_and_long_requests_pass_the_windows() {
    let echo = Echo::default();
    let mut sender = client(&echo, Config::default()).await;
    for size in [5_000_000, 40_000_000] {
        let asked = framed(size.to_string().as_bytes());
        let response = sender.send_request(call("/unary", asked)).await.unwrap();
        let (body, status) = read(response).await;
        assert_eq!((body.len(), status.as_deref()), (size + 5, Some("0")));
    }
    // Longer than what is taken whole, and than the connection's window.
    let long = Bytes::from(vec![3; 9_000_000]);
    for path in ["/unary", "/echo"] {
        let response = sender.send_request(call(path, long.clone())).await.unwrap();
        let (body, after) = read(response).await;
        assert_eq!(body, long);
        assert_eq!(after.as_deref(), Some("all"));
    }
    assert_eq!(echo.0.whole.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_not_one_plain_message_comes_as_a_request() {
    let echo = Echo::default();
    let mut sender = client(&echo, Config::default()).await;
    let compressed = Bytes::from_static(b"\x01\0\0\0\x01x");
    let two = [framed(b"one"), framed(b"two")].concat().into();
    let short = Bytes::from_static(b"\0\0\0\0\x05x");
    for odd in [compressed, two, short, Bytes::new()] {
        let response = sender.send_request(call("/unary", odd.clone())).await.unwrap();
        assert_eq!(read(response).await, (odd, Some("all".to_owned())));
    }
    let refused = sender.send_request(call("/unary", framed(b"refuse"))).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "5");
    assert_eq!(echo.0.whole.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_here_too() {
    let echo = Echo::default();
    let sender = client(&echo, Config::default()).await;
    let mut asking = sender.clone();
    let never = tokio::spawn(async move {
        asking.send_request(call("/never", Bytes::new())).await.map(|_| ()).unwrap_err()
    });
    // The next answer comes behind the first request.
    let mut other = sender.clone();
    read(other.send_request(call("/echo", Bytes::new())).await.unwrap()).await;
    never.abort();
    while echo.0.given_up.load(Ordering::SeqCst) == 0 {
        read(other.send_request(call("/echo", Bytes::new())).await.unwrap()).await;
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_holds_only_itself_up() {
    let echo = Echo::default();
    let sender = client(&echo, Config::default()).await;
    let mut unread = sender.clone();
    let stuck = unread.send_request(call("/unread", Bytes::from(vec![1; 3_000_000])));
    let stuck = tokio::spawn(stuck);
    let mut other = sender.clone();
    for _ in 0..20 {
        let long = Bytes::from(vec![2; 2_000_000]);
        let answer = other.send_request(call("/echo", long.clone())).await.unwrap();
        assert_eq!(read(answer).await.0, long);
    }
    assert!(!stuck.is_finished());
    stuck.abort();
}
