//! The examples of watch clients, one in each language, each run against the binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keelson_tests::cluster::binary;
use keelson_tests::command::run;
use keelson_tests::printing::Printing;
use keelson_tests::store::{Alone, curl};
use serde_json::{Value, json};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// The programs; what has to be compiled is.
fn programs(dir: &Path) -> Result<Vec<(&'static str, Command)>> {
    let go = dir.join("watch-go");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&go).arg(example("watch.go"));
    run(build, None, Duration::from_secs(300)).context("go")?.ok()?;
    let rust = binary().with_file_name("examples").join("watch");
    ensure!(rust.is_file(), "no {}: cargo build --workspace --examples", rust.display());
    let with = |program: &str, name: &str| {
        let mut command = Command::new(program);
        command.arg(example(name));
        command
    };
    Ok(vec![
        ("Rust", Command::new(rust)),
        ("Go", Command::new(go)),
        ("Python", with("python3", "watch.py")),
        ("JavaScript", with("node", "watch.mjs")),
        ("curl", with("sh", "watch.sh")),
    ])
}

fn set(url: &str, keys: &[&str]) -> Result<()> {
    let put = |key: &&str| json!({"request_put": {"key": STANDARD.encode(key)}});
    let puts: Vec<Value> = keys.iter().map(put).collect();
    let body = json!({ "success": puts }).to_string();
    let (status, body) = curl(&["-d", &body, &format!("{url}/v3/kv/txn")])?;
    ensure!(status == 200, "{status}: {body}");
    Ok(())
}

#[test]
fn each_tells_every_change_once_over_a_crash_of_the_store() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let mut store = alone.start(dir.path())?;
    let mut watches = Vec::new();
    for (name, mut command) in programs(dir.path())? {
        command.args([&alone.url, "a/"]);
        watches.push((name, Printing::start(command)?));
    }
    set(&alone.url, &["a/0", "b/0", "a/1 &+%"])?;
    set(&alone.url, &["a/2"])?;
    let mut told = |expected: &[(&str, i64, bool)]| -> Result<()> {
        for (name, watch) in &mut watches {
            for (key, revision, more) in expected {
                let line = watch.object().with_context(|| name.to_owned())?;
                let is = line["key"] == *key
                    && line["mod_revision"] == *revision
                    && line.get("more").is_some() == *more;
                ensure!(is, "{name}: {line}, and not {key} at {revision}");
            }
        }
        Ok(())
    };
    told(&[("a/0", 2, true), ("a/1 &+%", 2, false), ("a/2", 3, false)])?;
    store.kill_9()?;
    let _store = alone.start(dir.path())?;
    set(&alone.url, &["b/1"])?;
    set(&alone.url, &["a/3", "a/4"])?;
    told(&[("a/3", 5, true), ("a/4", 5, false)])
}
