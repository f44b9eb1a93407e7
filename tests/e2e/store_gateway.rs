//! The JSON gateway of `keelson store`: what curl gets, beside what etcd's own answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use keelson_tests::store::{Alone, StoreProcess, curl};
use serde_json::Value;

/// A member of its own with a fresh directory.
struct Member {
    _process: StoreProcess,
    url: String,
    port: u16,
    _dir: tempfile::TempDir,
}

fn member(etcd: bool) -> Result<Member> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let log = dir.path().join("log");
    let mut process = match etcd {
        true => StoreProcess::start_etcd(&alone.flags, &log)?,
        false => StoreProcess::start(&alone.flags, &[], &log)?,
    };
    // Before 3.5 etcd said this alone.
    process.logged("serving client traffic")?;
    let Alone { url, port, .. } = alone;
    Ok(Member { _process: process, url, port, _dir: dir })
}

fn post(member: &Member, path: &str, body: &str) -> Result<(u16, String)> {
    curl(&["-X", "POST", "-d", body, &format!("{}{path}", member.url)])
}

/// Requests whose answers are compared; keys are `foo` (Zm9v), `bar` (YmFy), `baz` (YmF6).
const TABLE: [(&str, &str); 43] = [
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"Pz8/","prev_kv":true}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy","prevKv":true,"nobody":"knows"}"#),
    ("/v3/kv/put", r#"{"key":"YmFy"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v"}"#),
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","limit":1}"#),
    (
        "/v3/kv/range",
        r#"{"key":"AA==","range_end":"AA==","limit":"1","sort_order":"DESCEND","sort_target":"MOD"}"#,
    ),
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","count_only":true}"#),
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","keys_only":true}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":2}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"100"}"#),
    ("/v3/kv/range", r#"{"key":"bm9uZQ=="}"#),
    ("/v3/kv/range", ""),
    ("/v3/kv/range", "{}"),
    ("/v3/kv/put", r#"{"key":"Zm9v","lease":77}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YQ==","ignore_value":true}"#),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"target":"VALUE","key":"Zm9v","value":"YmFy"},{"target":"VERSION","result":"GREATER","key":"Zm9v","version":"1"}],
            "success":[{"request_put":{"key":"YmF6","value":"MQ=="}},{"request_range":{"key":"YmF6"}},{"requestDeleteRange":{"key":"YmFy","prev_kv":true}}],
            "failure":[{"request_range":{"key":"Zm9v"}}]}"#,
    ),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"target":"CREATE","key":"Zm9v","create_revision":"0"}],"success":[],"failure":[{"request_range":{"key":"Zm9v"}},{"request_txn":{"success":[{"request_put":{"key":"YmFy","value":""}}]}}]}"#,
    ),
    (
        "/v3/kv/txn",
        r#"{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}"#,
    ),
    ("/v3/kv/txn", "{}"),
    ("/v3/kv/deleterange", r#"{"key":"YmE=","range_end":"YmI=","prev_kv":true}"#),
    ("/v3/kv/deleterange", r#"{"key":"bm9uZQ=="}"#),
    ("/v3/kv/compaction", r#"{"revision":"3","physical":true}"#),
    ("/v3/kv/compaction", r#"{"revision":"3"}"#),
    ("/v3/kv/compaction", r#"{"revision":"300"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":2}"#),
    ("/v3/lease/grant", r#"{"TTL":"600","ID":"1000"}"#),
    ("/v3/lease/grant", r#"{"TTL":600,"ID":1000}"#),
    ("/v3/lease/grant", r#"{"TTL":"9000000001","ID":"1001"}"#),
    ("/v3/kv/put", r#"{"key":"bGVhc2Vk","value":"eA==","lease":"1000"}"#),
    ("/v3/kv/range", r#"{"key":"bGVhc2Vk"}"#),
    ("/v3/lease/timetolive", r#"{"ID":"1000","keys":true}"#),
    ("/v3/kv/lease/timetolive", r#"{"ID":"5"}"#),
    ("/v3/lease/leases", ""),
    ("/v3/kv/lease/leases", "{}"),
    ("/v3/lease/keepalive", r#"{"ID":"1000"}"#),
    ("/v3/lease/keepalive", r#"{"ID":"6"}"#),
    ("/v3/lease/revoke", r#"{"ID":"1000"}"#),
    ("/v3/kv/lease/revoke", r#"{"ID":"1000"}"#),
    ("/v3/kv/range", r#"{"key":"bGVhc2Vk"}"#),
    ("/v3/cluster/member/list", "{}"),
    ("/v3/maintenance/defragment", ""),
    ("/v3beta/kv/range", r#"{"key":"Zm9v"}"#),
];

/// What differs between any two clusters, and between etcd 3.4 and 3.7, is taken out; the order of
/// what stays is kept.
fn plain(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // Since 3.6 an error is `code` and `message`, in this order, and nothing else.
            if members.contains_key("message") && members.contains_key("code") {
                members.shift_remove("error");
                let message = members.shift_remove("message").unwrap_or_default();
                members.insert("message".to_owned(), message);
            }
            for (key, value) in members.iter_mut() {
                match key.as_str() {
                    "cluster_id" | "member_id" | "raft_term" => *value = Value::from("id"),
                    "peerURLs" | "clientURLs" => *value = Value::from("urls"),
                    "ID" if value.as_str().is_some_and(|id| id.len() > 10) => {
                        *value = Value::from("id");
                    }
                    _ => plain(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

fn compared((status, body): (u16, String)) -> (u16, String) {
    let Ok(mut value) = serde_json::from_str(body.trim()) else { return (status, body) };
    plain(&mut value);
    // A failed precondition was one of HTTP's, too.
    (if status == 412 { 400 } else { status }, value.to_string())
}

#[test]
fn answers_are_those_of_etcd() -> Result<()> {
    let ours = member(false)?;
    let theirs = if which("etcd") { Some(member(true)?) } else { None };
    for (path, body) in TABLE {
        let answer = post(&ours, path, body)?;
        ensure!(!answer.1.is_empty(), "{path} {body}: nothing");
        if let Some(theirs) = &theirs {
            let expected = compared(post(theirs, path, body)?);
            let answer = compared(answer);
            ensure!(answer == expected, "{path} {body}:\n  {answer:?}\n  {expected:?}");
        }
    }
    Ok(())
}

fn which(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

// upstream: etcd v3, grpc-gateway v2: the exact bytes
#[test]
fn bytes_are_those_of_grpc_gateway() -> Result<()> {
    let member = member(false)?;
    let status = post(&member, "/v3/maintenance/status", "{}")?.1;
    let status: Value = serde_json::from_str(&status)?;
    let text = |name: &str| status["header"][name].as_str().unwrap_or_default().to_owned();
    let (cluster, id) = (text("cluster_id"), text("member_id"));
    ensure!(status["version"] == "3.7.1" && status["raftIndex"].is_string(), "{status}");
    let term = text("raft_term");
    let header = |revision: i64| {
        format!(
            r#""header":{{"cluster_id":"{cluster}","member_id":"{id}","revision":"{revision}","raft_term":"{term}"}}"#
        )
    };
    let put = post(&member, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#)?;
    ensure!(put == (200, format!("{{{}}}", header(2))), "{put:?}");
    let range = post(&member, "/v3/kv/range", r#"{"key":"Zm9v"}"#)?;
    let kv =
        r#"{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}"#;
    ensure!(
        range == (200, format!("{{{},\"kvs\":[{kv}],\"count\":\"1\"}}", header(2))),
        "{range:?}"
    );
    let refused = post(&member, "/v3/kv/range", "")?;
    let expected = r#"{"code":3,"message":"etcdserver: key is not provided"}"#;
    ensure!(refused == (400, expected.to_owned()), "{refused:?}");
    let refused = post(&member, "/v3/kv/put", r#"{"key":"Zm9v","lease":"9"}"#)?;
    let expected = r#"{"code":5,"message":"etcdserver: requested lease not found"}"#;
    ensure!(refused == (404, expected.to_owned()), "{refused:?}");
    let wrong = post(&member, "/v3/kv/range", "{")?;
    ensure!(wrong.0 == 400 && wrong.1.starts_with(r#"{"code":3,"message":"#), "{wrong:?}");
    let missing = post(&member, "/v3/kv/nobody", "{}")?;
    ensure!(missing == (404, r#"{"code":5,"message":"Not Found"}"#.to_owned()), "{missing:?}");
    let get = curl(&[&format!("{}/v3/kv/range", member.url)])?;
    ensure!(get == (501, r#"{"code":12,"message":"Method Not Allowed"}"#.to_owned()), "{get:?}");
    Ok(())
}

/// A curl that reads a stream; killed when dropped.
struct Stream {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Stream {
    fn open(member: &Member, path: &str, body: &str) -> Result<Self> {
        let mut child = Command::new("curl")
            .args(["-s", "-N", "--max-time", "30", "-d", body])
            .arg(format!("{}{path}", member.url))
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("output")?).lines();
        Ok(Self { child, lines })
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().context("the stream ended")??)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn a_watch_is_a_line_an_answer() -> Result<()> {
    let member = member(false)?;
    let create =
        r#"{"create_request":{"key":"Zm9v"}}{"createRequest":{"key":"YmFy","watch_id":"7"}}"#;
    let mut stream = Stream::open(&member, "/v3/watch", create)?;
    let first = stream.line()?;
    ensure!(first.starts_with(r#"{"result":{"header":{"#), "{first}");
    ensure!(first.ends_with(r#""created":true}}"#), "{first}");
    let second = stream.line()?;
    ensure!(second.ends_with(r#""watch_id":"7","created":true}}"#), "{second}");
    post(&member, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#)?;
    let event = stream.line()?;
    let expected = r#""events":[{"kv":{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}}]}}"#;
    ensure!(event.ends_with(expected), "{event}");
    post(&member, "/v3/kv/deleterange", r#"{"key":"Zm9v"}"#)?;
    let event = stream.line()?;
    let expected = r#""events":[{"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"3"}}]}}"#;
    ensure!(event.ends_with(expected), "{event}");
    Ok(())
}

/// A text message of a client, which is masked, here with zeros.
fn text_message(text: &str) -> Result<Vec<u8>> {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len())?, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    Ok(frame)
}

fn read_message(socket: &mut TcpStream) -> Result<String> {
    let mut head = [0; 2];
    socket.read_exact(&mut head)?;
    ensure!(head[0] == 0x81, "not a text message: {head:?}");
    let mut length = usize::from(head[1]);
    if length == 126 {
        let mut long = [0; 2];
        socket.read_exact(&mut long)?;
        length = usize::from(u16::from_be_bytes(long));
    }
    let mut text = vec![0; length];
    socket.read_exact(&mut text)?;
    Ok(String::from_utf8(text)?)
}

#[test]
fn a_watch_goes_over_websocket_too() -> Result<()> {
    let member = member(false)?;
    let mut socket = TcpStream::connect(("127.0.0.1", member.port))?;
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    socket.write_all(
        b"GET /v3/watch HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    ensure!(head.starts_with("http/1.1 101 "), "{head}");
    ensure!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    socket.write_all(&text_message(r#"{"create_request":{"key":"Zm9v"}}"#)?)?;
    let created = read_message(&mut socket)?;
    ensure!(created.ends_with(r#""created":true}}"#), "{created}");
    post(&member, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#)?;
    let event = read_message(&mut socket)?;
    ensure!(event.contains(r#""events":[{"kv":{"key":"Zm9v""#), "{event}");
    socket.write_all(&text_message(r#"{"cancel_request":{"watch_id":"0"}}"#)?)?;
    let canceled = read_message(&mut socket)?;
    ensure!(canceled.ends_with(r#""canceled":true}}"#), "{canceled}");
    Ok(())
}
