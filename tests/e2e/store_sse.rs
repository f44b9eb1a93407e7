//! `/v3/watch/sse`: changes as server-sent events, read by curl.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keelson_tests::Members;
use keelson_tests::certificates::Authority;
use keelson_tests::printing::Printing;
use keelson_tests::store::{Alone, StoreProcess, curl};
use serde_json::{Value, json};

use super::store_watch_commands::with_users;

/// One event: its id, its name, its content.
#[derive(Debug, Default)]
struct Event {
    id: Option<String>,
    name: Option<String>,
    data: Option<Value>,
}

/// A stream of events.
struct Events(Printing);

impl Events {
    fn open(url: &str, query: &str, more: &[&str]) -> Result<Self> {
        let mut command = Command::new("curl");
        command.args(["-s", "-S", "-N", "--max-time", "60"]).args(more);
        command.arg(format!("{url}/v3/watch/sse?{query}"));
        Printing::start(command).map(Self)
    }

    /// The next that says anything.
    fn any(&mut self) -> Result<Event> {
        let mut event = Event::default();
        loop {
            let line = self.0.line()?;
            if line.is_empty() {
                if event.id.is_some() || event.name.is_some() || event.data.is_some() {
                    return Ok(event);
                }
                continue;
            }
            match line.split_once(": ").context("a field")? {
                ("id", id) => event.id = Some(id.to_owned()),
                ("event", name) => event.name = Some(name.to_owned()),
                ("data", data) => event.data = Some(serde_json::from_str(data)?),
                ("retry" | "", _) => {}
                _ => anyhow::bail!("an unknown field: {line}"),
            }
        }
    }

    /// The next that has content.
    fn next(&mut self) -> Result<Event> {
        loop {
            let event = self.any()?;
            if event.data.is_some() {
                return Ok(event);
            }
        }
    }

    /// Ids and keys of the next ones.
    fn keys(&mut self, count: usize) -> Result<Vec<String>> {
        (0..count)
            .map(|_| {
                let event = self.next()?;
                let data = event.data.unwrap_or_default();
                let id = event.id.unwrap_or_default();
                Ok(format!("{id} {}", data["key"].as_str().unwrap_or_default()))
            })
            .collect()
    }
}

struct Store {
    alone: Alone,
    process: StoreProcess,
    dir: tempfile::TempDir,
}

impl Store {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let alone = Alone::new(dir.path(), "http")?;
        let process = alone.start(dir.path())?;
        Ok(Self { alone, process, dir })
    }

    fn url(&self) -> &str {
        &self.alone.url
    }

    fn restart(&mut self) -> Result<()> {
        self.process.kill_9()?;
        self.process = self.alone.start(self.dir.path())?;
        Ok(())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        post(self.url(), path, body, &[])
    }

    /// One transaction that sets these keys to these values.
    fn set(&self, pairs: &[(&str, &str)]) -> Result<()> {
        let puts: Vec<Value> = pairs.iter().map(|(key, value)| put(key, value)).collect();
        self.post("kv/txn", &json!({ "success": puts })).map(|_| ())
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.post("kv/deleterange", &json!({ "key": STANDARD.encode(key) })).map(|_| ())
    }

    fn events(&self, query: &str) -> Result<Events> {
        Events::open(self.url(), query, &[])
    }
}

fn post(url: &str, path: &str, body: &Value, more: &[&str]) -> Result<Value> {
    let (url, body) = (format!("{url}/v3/{path}"), body.to_string());
    let mut arguments = vec!["-d", &body, &url];
    arguments.extend(more);
    let (status, body) = curl(&arguments)?;
    ensure!(status == 200, "{path}: {status}: {body}");
    Ok(serde_json::from_str(&body)?)
}

fn put(key: &str, value: &str) -> Value {
    json!({"request_put": {"key": STANDARD.encode(key), "value": STANDARD.encode(value)}})
}

#[test]
fn a_change_is_an_event_with_an_id_that_resumes() -> Result<()> {
    let mut store = Store::start()?;
    let mut events = store.events("prefix=a/")?;
    // What a client that is cut off at once goes on from.
    ensure!(events.any()?.id.as_deref() == Some("1"));
    store.set(&[("a/0", "text")])?;
    let event = events.next()?;
    ensure!(event.id.as_deref() == Some("2") && event.name.is_none(), "{event:?}");
    let expected = json!({"type": "PUT", "key": "a/0", "value": "text", "create_revision": 2,
        "mod_revision": 2, "version": 1});
    ensure!(event.data == Some(expected), "{event:?}");
    // Other keys of the transaction are counted, and not shown.
    store.set(&[("b/0", ""), ("a/1", ""), ("b/1", ""), ("a/2", ""), ("a/3", ""), ("b/2", "")])?;
    store.delete("a/0")?;
    let told = ["3.1 a/1", "3.3 a/2", "3 a/3", "4 a/0"];
    ensure!(events.keys(4)? == told);
    // From every id on, the rest is told: once, and all of it; by another process of the store, too.
    store.restart()?;
    for (at, id) in ["2", "3.1", "3.3", "3"].iter().enumerate() {
        let header = format!("Last-Event-ID: {id}");
        let mut events = Events::open(store.url(), "prefix=a/&from=1", &["-H", &header])?;
        ensure!(events.keys(4 - at)? == told[at..], "{id}");
        let mut events = store.events(&format!("prefix=a/&after={id}"))?;
        ensure!(events.keys(4 - at)? == told[at..], "{id}");
    }
    let mut events = store.events("key=a/0&from=3&prev_kv=true")?;
    let data = events.next()?.data.unwrap_or_default();
    ensure!(data["type"] == "DELETE" && data["prev_kv"]["value"] == "text", "{data}");
    Ok(())
}

#[test]
fn a_client_learns_how_far_it_is_while_nothing_happens() -> Result<()> {
    let store = Store::start()?;
    let mut events = store.events("prefix=a/&heartbeat=1")?;
    ensure!(events.any()?.id.as_deref() == Some("1"));
    store.set(&[("b/0", "")])?;
    store.set(&[("b/0", "")])?;
    let event = events.any()?;
    ensure!(event.id.as_deref() == Some("3") && event.data.is_none(), "{event:?}");
    store.post("kv/compaction", &json!({"revision": 3, "physical": true}))?;
    store.set(&[("a/0", "")])?;
    let mut events = store.events("prefix=a/&after=3")?;
    ensure!(events.keys(1)? == ["4 a/0"]);
    Ok(())
}

#[test]
fn what_is_compacted_is_an_event_and_the_end() -> Result<()> {
    let store = Store::start()?;
    for number in 0..6 {
        store.set(&[("a/0", &number.to_string())])?;
    }
    store.post("kv/compaction", &json!({"revision": 5, "physical": true}))?;
    let mut events = store.events("prefix=a/&after=2")?;
    let event = events.next()?;
    ensure!(event.name.as_deref() == Some("compacted"), "{event:?}");
    ensure!(event.data == Some(json!({"wanted": 3, "oldest": 5})), "{event:?}");
    ensure!(events.0.ended()? == 0, "curl goes on");
    let mut events = store.events("prefix=a/&from=oldest")?;
    ensure!(events.keys(3)? == ["5 a/0", "6 a/0", "7 a/0"]);
    Ok(())
}

#[test]
fn the_server_filters_by_suffix_and_by_field() -> Result<()> {
    let store = Store::start()?;
    let on = |node: &str| format!(r#"{{"spec":{{"nodeName":"{node}","weight":3}}}}"#);
    let mut here = store.events("prefix=p/&field=spec.nodeName%3Dn1&field=spec.weight=3")?;
    let mut status = store.events("prefix=p/&suffix=/status&suffix=/scale&type=put")?;
    here.any()?;
    status.any()?;
    store.set(&[("p/a", &on("n1")), ("p/b", &on("n2")), ("p/a/status", "no JSON")])?;
    store.set(&[("p/a", &on("n2"))])?;
    store.set(&[("p/b", &on("n1"))])?;
    store.delete("p/a")?;
    store.delete("p/b")?;
    store.delete("p/a/status")?;
    store.set(&[("p/b/scale", "")])?;
    let mut told = Vec::new();
    for _ in 0..4 {
        let Event { id, data, .. } = here.next()?;
        let data = data.unwrap_or_default();
        ensure!(data.get("prev_kv").is_none(), "{data}");
        told.push(format!(
            "{} {} {} {}",
            id.unwrap_or_default(),
            data["type"].as_str().unwrap_or_default(),
            data["key"].as_str().unwrap_or_default(),
            data["selected"]
        ));
    }
    // `a` comes and leaves, `b` comes, and is deleted. Only one change of revision 2 is sent.
    let expected = ["2 PUT p/a true", "3 PUT p/a false", "4 PUT p/b true", "6 DELETE p/b false"];
    ensure!(told == expected, "{told:?}");
    ensure!(status.keys(2)? == ["2 p/a/status", "8 p/b/scale"]);
    Ok(())
}

#[test]
fn permissions_are_those_of_a_watch() -> Result<()> {
    let store = Store::start()?;
    with_users(|path, body| Ok(store.post(path, &serde_json::from_str(body)?)?.to_string()))?;
    let user = json!({"name": "reader", "password": "secret"});
    let token = store.post("auth/authenticate", &user)?;
    let header = format!("Authorization: {}", token["token"].as_str().context("a token")?);
    let refused = |query: &str, headers: &[&str]| -> Result<(u16, String)> {
        let url = format!("{}/v3/watch/sse?{query}", store.url());
        curl(&[&["-N", &url], headers].concat())
    };
    let (status, body) = refused("prefix=a/", &[])?;
    ensure!(status == 400 && body.contains("user name is empty"), "{status} {body}");
    let (status, body) = refused("prefix=a/", &["-H", "Authorization: nonsense"])?;
    ensure!(status == 401 && body.contains("invalid auth token"), "{status} {body}");
    for query in ["prefix=b/", "prefix=", "prefix=a"] {
        let (status, body) = refused(query, &["-H", &header])?;
        ensure!(status == 403 && body.contains("permission denied"), "{query}: {status} {body}");
    }
    let mut events = Events::open(store.url(), "prefix=a/&from=oldest", &["-H", &header])?;
    ensure!(events.keys(1)? == ["2 a/1"]);
    Ok(())
}

#[test]
fn a_certificate_is_a_user() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ours = Authority::new(&dir.path().join("ours"))?;
    let server = ours.issue("server", 1)?;
    let reader = ours.issue("reader", 2)?;
    let other = ours.issue("other", 3)?;
    let alone = Alone::new(dir.path(), "https")?
        .with("cert-file", &server.certificate)
        .with("key-file", &server.key)
        .with("trusted-ca-file", &ours.path())
        .with("client-cert-auth", "true");
    let _store = alone.start(dir.path())?;
    let ca = ours.path();
    let as_reader =
        ["--cacert", &ca, "--cert", &reader.certificate, "--key", &reader.key, "--http1.1"];
    with_users(|path, body| {
        Ok(post(&alone.url, path, &serde_json::from_str(body)?, &as_reader)?.to_string())
    })?;
    let mut events = Events::open(&alone.url, "prefix=a/&from=oldest", &as_reader)?;
    ensure!(events.keys(1)? == ["2 a/1"]);
    // Over HTTP/2 as well.
    let mut events = Events::open(&alone.url, "prefix=a/&from=oldest", &as_reader[..6])?;
    ensure!(events.keys(1)? == ["2 a/1"]);
    let url = format!("{}/v3/watch/sse?prefix=a/", alone.url);
    let (status, body) =
        curl(&["--cacert", &ca, "--cert", &other.certificate, "--key", &other.key, &url])?;
    ensure!(status == 403 && body.contains("permission denied"), "{status} {body}");
    Ok(())
}

#[test]
fn what_cannot_be_asked_for_is_named() -> Result<()> {
    let store = Store::start()?;
    let url = |query: &str| format!("{}/v3/watch/sse{query}", store.url());
    for (query, words) in [
        ("", "one of prefix and key is needed"),
        ("?prefix=a&form=7", r#"unknown parameter \"form\""#),
        ("?prefix=a&from=-3", r#"from=\"-3\": a revision from 1 on, or oldest is wanted"#),
        ("?prefix=a&after=x", "the id of an event"),
        ("?prefix=a&field=", "PATH"),
    ] {
        let (status, body) = curl(&[&url(query)])?;
        ensure!(status == 400 && body.contains(words), "{query}: {status} {body}");
        let answer: Value = serde_json::from_str(&body)?;
        ensure!(answer["code"] == 3, "{body}");
    }
    let (status, body) = curl(&["-H", "Last-Event-ID: 1.2.3", &url("?prefix=a")])?;
    ensure!(status == 400 && body.contains("Last-Event-ID"), "{status} {body}");
    let (status, _) = curl(&["-X", "POST", "-d", "{}", &url("?prefix=a")])?;
    ensure!(status == 405, "{status}");
    Ok(())
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() -> Result<()> {
    let store = Store::start()?;
    let mut slow = TcpStream::connect(("127.0.0.1", store.alone.port))?;
    slow.write_all(b"GET /v3/watch/sse?prefix=a/ HTTP/1.1\r\nHost: x\r\n\r\n")?;
    slow.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut head = [0; 12];
    slow.read_exact(&mut head)?;
    ensure!(&head == b"HTTP/1.1 200", "{head:?}");
    let mut quick = store.events("prefix=a/")?;
    quick.any()?;
    // More than sockets and queues hold.
    let value = "x".repeat(1 << 20);
    let file = store.dir.path().join("put");
    std::fs::write(
        &file,
        json!({"key": STANDARD.encode("a/0"), "value": STANDARD.encode(&value)}).to_string(),
    )?;
    let data = format!("@{}", file.display());
    for number in 0..24 {
        let (status, body) = curl(&["-d", &data, &format!("{}/v3/kv/put", store.url())])?;
        ensure!(status == 200, "{body}");
        let event = quick.next()?;
        ensure!(event.id == Some((number + 2).to_string()), "{:?}", event.id);
    }
    // It has missed nothing, either.
    let mut text = String::new();
    let mut buffer = vec![0; 1 << 20];
    while !text.contains("\nid: 25\n") {
        let read = slow.read(&mut buffer)?;
        ensure!(read > 0, "the stream ended");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let expected: Vec<String> = (1..=25).map(|id| id.to_string()).collect();
    ensure!(ids == expected, "{ids:?}");
    Ok(())
}

#[tokio::test]
async fn a_member_without_a_majority_sends_its_clients_away() -> Result<()> {
    let mut members = Members::start(3).await?;
    let url = members.endpoints()[0].clone();
    let mut events = Events::open(&url, "prefix=a/&heartbeat=1", &[])?;
    events.any()?;
    members.kill_9(1)?;
    members.kill_9(2)?;
    let event = events.next()?;
    ensure!(event.name.as_deref() == Some("ended"), "{event:?}");
    ensure!(event.data == Some(json!({"reason": "etcdserver: no leader"})), "{event:?}");
    ensure!(events.0.ended()? == 0);
    Ok(())
}

#[test]
fn no_more_are_taken_than_the_listener_may_have() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?.with("max-concurrent-streams", "1");
    let _store = alone.start(dir.path())?;
    let mut first = Events::open(&alone.url, "prefix=a/", &[])?;
    first.any()?;
    let url = format!("{}/v3/watch/sse?prefix=a/", alone.url);
    let (status, body) = curl(&[&url])?;
    ensure!(status == 429 && body.contains("too many requests"), "{status} {body}");
    Ok(())
}
