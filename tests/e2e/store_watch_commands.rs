//! `keelson watch` with a command for each change, with users, and with what it cannot use.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keelson_tests::certificates::Authority;
use keelson_tests::printing::Printing;
use keelson_tests::store::{Alone, StoreProcess, curl, run_as};
use serde_json::json;

struct Store {
    url: String,
    dir: tempfile::TempDir,
    _process: StoreProcess,
}

impl Store {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let alone = Alone::new(dir.path(), "http")?;
        let process = alone.start(dir.path())?;
        Ok(Self { url: alone.url, dir, _process: process })
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// One transaction that sets these keys.
    fn set(&self, keys: &[&str]) -> Result<()> {
        let puts: Vec<_> =
            keys.iter().map(|key| json!({"request_put": {"key": base64(key)}})).collect();
        self.post("kv/txn", &json!({ "success": puts }).to_string(), &[]).map(|_| ())
    }

    fn post(&self, path: &str, body: &str, more: &[&str]) -> Result<String> {
        let url = format!("{}/v3/{path}", self.url);
        let mut arguments = vec!["-d", body, &url];
        arguments.extend(more);
        let (status, body) = curl(&arguments)?;
        ensure!(status == 200, "{path}: {status}: {body}");
        Ok(body)
    }

    fn watch(&self, arguments: &[&str]) -> Result<Printing> {
        let mut all = vec!["--endpoints", &self.url];
        all.extend(arguments);
        Printing::watch(&all)
    }
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

/// Marks what it is run for, and once, for `a/2`, kills who runs it before it has ended.
const CRASHING: &str = r#"cat > /dev/null; echo "$KEELSON_TYPE $KEELSON_KEY $KEELSON_REVISION" >> "$OUT"
if [ "$KEELSON_KEY" = a/2 ] && mkdir "$OUT.crashed" 2>/dev/null; then kill -9 "$PPID"; fi"#;

#[test]
fn a_crash_repeats_the_last_change_or_leaves_it_out_as_was_asked() -> Result<()> {
    for (policy, expected) in
        [("--at-least-once", "a/1 a/2 a/2 a/3 a/4"), ("--at-most-once", "a/1 a/2 a/3 a/4")]
    {
        let store = Store::start()?;
        let (file, out) = (store.file("bookmark"), store.file("out"));
        store.set(&["a/1", "a/2", "a/3"])?;
        store.set(&["a/4"])?;
        let start = |count: &str| {
            let mut command = Command::new(keelson_tests::cluster::binary());
            command.args(["watch", "a/", "--endpoints", &store.url, "--from", "1", policy, &file]);
            command.args(["--exec", CRASHING, "--count", count]).env("OUT", &out);
            Printing::start(command)
        };
        ensure!(start("9")?.ended()? == -1, "{policy}: it was to be killed");
        let left = expected.split(' ').count() - 2;
        let mut again = start(&left.to_string())?;
        ensure!(again.ended()? == 0, "{}", again.errors());
        let done = std::fs::read_to_string(&out)?;
        let keys: Vec<&str> = done.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        ensure!(keys.join(" ") == expected, "{policy}: {done}");
        ensure!(done.starts_with("PUT a/1 2\n") && done.ends_with("PUT a/4 3\n"), "{done}");
    }
    Ok(())
}

#[test]
fn a_command_that_fails_stops_the_watch_or_is_tried_again_or_left() -> Result<()> {
    let store = Store::start()?;
    store.set(&["a/1", "a/2", "a/3"])?;
    let file = store.file("bookmark");
    let only_first = r#"[ "$KEELSON_KEY" = a/1 ]"#;
    let from = ["a/", "--from", "1"];
    let run = |more: &[&str]| store.watch(&[&from[..], more].concat());

    let mut watch = run(&["--at-least-once", &file, "--exec", only_first])?;
    ensure!(watch.ended()? == 4, "{}", watch.errors());
    watch.has_said(
        "PUT \"a/2\" at revision 2: the command ended with exit status: 1; what it was run \
                    for is not marked as done",
    )?;
    let left = std::fs::read_to_string(&file)?;
    ensure!(left.contains(r#""next_revision":2,"changes_done":1"#), "{left}");

    // It goes on in the middle of the transaction. The third try is good.
    let tries = store.file("tries");
    let third = format!(r#"echo >> {tries}; [ "$(wc -l < {tries})" -ge 3 ] && cat"#);
    let mut watch =
        run(&["--at-least-once", &file, "--exec", &third, "--retries", "3", "--count", "1"])?;
    ensure!(watch.object()?["key"] == "a/2");
    ensure!(watch.ended()? == 0, "{}", watch.errors());
    watch.has_said("2 more tries after this")?;

    let both = ["--exec", only_first, "--on-failure", "skip", "--count", "3"];
    let mut watch = run(&both)?;
    ensure!(watch.ended()? == 0, "{}", watch.errors());
    ensure!(watch.errors().matches("skipped").count() == 2, "{}", watch.errors());

    // It is ended with all that it has started.
    let pid = store.file("pid");
    let slow = format!("sleep 1000 & echo $! > {pid}; wait");
    let mut watch = run(&["--exec", &slow, "--exec-timeout", "300ms"])?;
    ensure!(watch.ended()? == 4, "{}", watch.errors());
    watch.has_said("still ran after 0.3 s and was killed")?;
    let pid = std::fs::read_to_string(&pid)?;
    keelson_tests::wait::until("the child to end", Duration::from_secs(10), || {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        Ok(status.map_or(Some(()), |status| status.contains(") Z ").then_some(())))
    })?;
    Ok(())
}

#[test]
fn a_signal_lets_the_command_finish() -> Result<()> {
    let store = Store::start()?;
    store.set(&["a/1", "a/2"])?;
    let (file, go) = (store.file("bookmark"), store.file("go"));
    let command = format!("echo began; until [ -e {go} ]; do sleep 0.05; done; cat");
    let mut watch =
        store.watch(&["a/", "--from", "1", "--at-least-once", &file, "--exec", &command])?;
    ensure!(watch.line()? == "began");
    watch.signal(nix::sys::signal::Signal::SIGTERM)?;
    std::fs::write(&go, "")?;
    ensure!(watch.object()?["key"] == "a/1");
    ensure!(watch.ended()? == 0, "{}", watch.errors());
    ensure!(watch.rest().is_empty(), "another was begun");
    let left = std::fs::read_to_string(&file)?;
    ensure!(left.contains(r#""next_revision":2,"changes_done":1"#), "{left}");
    Ok(())
}

#[test]
fn users_watch_what_they_may_read() -> Result<()> {
    let store = Store::start()?;
    with_users(|path, body| store.post(path, body, &[]))?;
    let refused = |more: &[&str], words: &str| -> Result<()> {
        let mut watch = store.watch(more)?;
        ensure!(watch.ended()? == 1, "{more:?}: {}", watch.errors());
        watch.has_said(words)
    };
    refused(&["a/"], "user name is empty")?;
    refused(&["a/", "--user", "reader:wrong"], "authentication failed")?;
    refused(&["b/", "--user", "reader:secret"], "permission denied")?;
    refused(&["a/", "--user", "reader"], "a password is needed")?;
    let password = store.file("password");
    std::fs::write(&password, "secret\n")?;
    let mut watch =
        store.watch(&["a/", "--from", "1", "--user", "reader", "--password-file", &password])?;
    ensure!(watch.object()?["key"] == "a/1");
    ensure!(watch.interrupt()? == 0, "{}", watch.errors());
    Ok(())
}

/// Users and roles: `root`, and `reader` who may read `a/`; `a/1` is set.
pub(crate) fn with_users(mut post: impl FnMut(&str, &str) -> Result<String>) -> Result<()> {
    post("kv/put", &json!({"key": base64("a/1")}).to_string())?;
    for name in ["root", "reader"] {
        post("auth/user/add", &json!({"name": name, "password": "secret"}).to_string())?;
        post("auth/role/add", &json!({"name": name}).to_string())?;
        post("auth/user/grant", &json!({"user": name, "role": name}).to_string())?;
    }
    let perm = json!({"permType": "READ", "key": base64("a/"), "range_end": base64("a0")});
    post("auth/role/grant", &json!({"name": "reader", "perm": perm}).to_string())?;
    post("auth/enable", "{}").map(|_| ())
}

#[test]
fn tls_is_as_for_other_clients() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ours = Authority::new(&dir.path().join("ours"))?;
    let server = ours.issue("server", 1)?;
    let client = ours.issue("client", 2)?;
    let alone = Alone::new(dir.path(), "https")?
        .with("cert-file", &server.certificate)
        .with("key-file", &server.key)
        .with("trusted-ca-file", &ours.path())
        .with("client-cert-auth", "true");
    let _store = alone.start(dir.path())?;
    let ca = ours.path();
    let common = ["", "--endpoints", &alone.url, "--progress", "--from", "1", "--idle", "100ms"];
    let trusted = ["--cacert", &ca, "--cert", &client.certificate, "--key", &client.key];
    let mut watch = Printing::watch(&[&common[..], &trusted[..]].concat())?;
    ensure!(watch.object()?["type"] == "PROGRESS");
    let mut watch =
        Printing::watch(&[&common[..], &["--cacert", &ca, "--patience", "1s"]].concat())?;
    ensure!(watch.ended()? == 1, "{}", watch.errors());
    watch.has_said("no endpoint has answered for 1 s")?;
    Ok(())
}

#[test]
fn what_cannot_be_used_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = dir.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let torn = file("torn", r#"{"version":1,"cluster":"ab","prefix":"a/","next_rev"#)?;
    let empty = file("empty", "")?;
    let other = file("other", r#"{"version":1,"cluster":"ab","prefix":"b/","next_revision":7}"#)?;
    let unknown =
        file("unknown", r#"{"version":1,"cluster":"ab","prefix":"a/","next_revision":7,"x":1}"#)?;
    let nowhere = dir.path().join("no/where").display().to_string();
    let table: [(&[&str], i32, &str); 17] = [
        (&[], 2, "<PREFIX>"),
        (&["a/", "--from", "0"], 2, "0 is not in 1.."),
        (&["a/", "--from", "many"], 2, "invalid value 'many' for '--from <REVISION>'"),
        (&["a/", "--from", "3", "--from-oldest"], 2, "cannot be used with"),
        (&["a/", "--bookmark", "b", "--at-least-once", "c"], 2, "cannot be used with"),
        (&["a/", "--on-compaction", "weep"], 2, "invalid value 'weep'"),
        (&["a/", "--on-failure", "skip"], 2, "--exec"),
        (&["a/", "--idle", "0s"], 2, "nothing takes no time"),
        (&["a/", "--idle", "soon"], 2, "is not a duration"),
        (&["a/", "--endpoints", "ftp://a"], 1, "ftp is neither http nor https"),
        (&["a/", "--endpoints", "https://a"], 1, "an https endpoint needs --cacert"),
        (&["a/", "--cacert", &nowhere], 1, "No such file"),
        (&["a/", "--bookmark", &torn], 1, "it ends in the middle"),
        (&["a/", "--bookmark", &empty], 1, "it is empty; without the file the watch begins anew"),
        (&["a/", "--at-least-once", &other], 1, "it is a position of the prefix \"b/\""),
        (&["a/", "--at-most-once", &unknown], 1, "unknown field `x`"),
        (&["a/", "--bookmark", &nowhere], 1, "No such file"),
    ];
    for (arguments, code, words) in table {
        let all = [&["watch"], arguments].concat();
        let output = run_as("keelson", &all, &[])?;
        ensure!(output.code == code, "{arguments:?}: {output:?}");
        ensure!(output.err.contains(words), "{arguments:?}: {}", output.err);
        ensure!(output.out.is_empty(), "{arguments:?}: {}", output.out);
    }
    let port = keelson_tests::ports::free(1)?[0].to_string();
    let nobody = format!("127.0.0.1:{port}");
    let arguments = ["watch", "a/", "--endpoints", &nobody, "--patience", "300ms"];
    let output = run_as("keelson", &arguments, &[])?;
    ensure!(output.code == 1 && output.err.contains("Connection refused"), "{output:?}");
    Ok(())
}
