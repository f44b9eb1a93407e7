//! Tools for the files of a store: verify, status, hashes, snapshots, repair.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use keelson_tests::store::{Alone, curl, run_as};
use nix::sys::signal::Signal;
use serde_json::Value;

fn post(alone: &Alone, path: &str, body: &str) -> Result<Value> {
    let (status, text) = curl(&["-d", body, &format!("{}{path}", alone.url)])?;
    ensure!(status == 200, "{path}: {status} {text}");
    Ok(serde_json::from_str(&text)?)
}

/// Keys `a` .. in base64, with versions.
fn fill(alone: &Alone) -> Result<()> {
    for number in 0..60 {
        let key = ["YQ==", "Yg==", "Yw=="][number % 3];
        post(alone, "/v3/kv/put", &format!(r#"{{"key":"{key}","value":"dmFsdWU="}}"#))?;
    }
    post(alone, "/v3/kv/deleterange", r#"{"key":"Yw=="}"#)?;
    Ok(())
}

fn tool(arguments: &[&str]) -> Result<keelson_tests::Output> {
    run_as("keelson", &[&["store"], arguments].concat(), &[])
}

fn json(arguments: &[&str]) -> Result<Value> {
    let out = tool(&[arguments, &["-w", "json"]].concat())?.ok()?;
    serde_json::from_str(&out).with_context(|| out)
}

#[test]
fn a_snapshot_is_made_looked_at_and_restored() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let mut store = alone.start(dir.path())?;
    fill(&alone)?;
    let live = post(&alone, "/v3/maintenance/hashkv", "{}")?;
    store.signal(Signal::SIGTERM)?;

    let data = dir.path().join("data").display().to_string();
    let at = ["--data-dir", data.as_str()];
    let verified = tool(&[&["verify"], &at[..]].concat())?.ok()?;
    ensure!(verified.contains("entries") && verified.contains("revision 62"), "{verified}");
    let dumped = tool(&[&["dump-log"], &at[..]].concat())?.ok()?;
    ensure!(dumped.lines().filter(|line| line.contains("\"command\"")).count() >= 61, "{dumped}");
    let status = json(&[&["status"], &at[..]].concat())?;
    ensure!(status["revision"] == 62 && status["compactRevision"] == -1, "{status}");
    let hash = json(&[&["hashkv"], &at[..]].concat())?;
    ensure!(hash["hash"] == live["hash"], "{hash} {live}");

    let file = dir.path().join("backup.db").display().to_string();
    tool(&[&["snapshot", "save", file.as_str()], &at[..]].concat())?.ok()?;
    let length = std::fs::metadata(&file)?.len();
    ensure!(length % 512 == 32, "etcdctl takes no other length: {length}");
    let utl = |arguments: &[&str]| run_as("etcdutl", arguments, &[]);
    let status: Value =
        serde_json::from_str(&utl(&["snapshot", "status", &file, "-w", "json"])?.ok()?)?;
    ensure!(status["revision"] == 62 && status["totalKey"] == 2, "{status}");
    ensure!(status["totalSize"] == length && status["version"] == "3.7.0", "{status}");
    ensure!(utl(&["snapshot", "status", &file, "-w", "table"])?.ok()?.contains("TOTAL KEYS"));
    let of_file: Value = serde_json::from_str(&utl(&["hashkv", &file, "-w", "json"])?.ok()?)?;
    ensure!(of_file["hash"] == live["hash"], "{of_file}");

    // Another member of another cluster goes on from it.
    let new = dir.path().join("new");
    std::fs::create_dir(&new)?;
    let restored = Alone::new(&new, "http")?;
    let flag = |name: &str| {
        let at = restored.flags.iter().position(|flag| flag == name).context(name.to_owned())?;
        Ok::<_, anyhow::Error>(restored.flags[at + 1].clone())
    };
    let (new_data, cluster) = (flag("--data-dir")?, flag("--initial-cluster")?);
    let peer = flag("--initial-advertise-peer-urls")?;
    let restore = [
        "snapshot",
        "restore",
        &file,
        "--data-dir",
        &new_data,
        "--name",
        "m",
        "--initial-cluster",
        &cluster,
        "--initial-advertise-peer-urls",
        &peer,
        "--initial-cluster-token",
        "another",
    ];
    let said = utl(&restore)?;
    ensure!(said.code == 0 && said.err.contains("restored snapshot"), "{said:?}");
    ensure!(said.err.contains("added member"), "{said:?}");
    ensure!(utl(&restore)?.code != 0, "a data directory was overwritten");
    let _store = restored.start(&new)?;
    let hash = post(&restored, "/v3/maintenance/hashkv", "{}")?;
    ensure!(hash["hash"] == live["hash"], "{hash} {live}");
    let put = post(&restored, "/v3/kv/put", r#"{"key":"YQ=="}"#)?;
    ensure!(put["header"]["revision"] == "63", "{put}");
    ensure!(put["header"]["cluster_id"] != live["header"]["cluster_id"], "{put}");

    // Or at a revision that nobody has seen: old ones are told to be compacted.
    let bumped = dir.path().join("bumped");
    std::fs::create_dir(&bumped)?;
    let bumped_data = bumped.join("data").display().to_string();
    let mut again: Vec<&str> = restore.to_vec();
    again[4] = &bumped_data;
    ensure!(utl(&[&again[..], &["--bump-revision", "1000"]].concat())?.code != 0);
    again.extend(["--bump-revision", "1000", "--mark-compacted"]);
    utl(&again)?.ok()?;
    let other = Alone::new(&bumped, "http")?;
    let _other = other.start(&bumped)?;
    let put = post(&other, "/v3/kv/put", r#"{"key":"YQ=="}"#)?;
    ensure!(put["header"]["revision"] == "1063", "{put}");
    let old = r#"{"key":"YQ==","revision":"62"}"#;
    let (status, body) = curl(&["-d", old, &format!("{}/v3/kv/range", other.url)])?;
    ensure!(status == 400 && body.contains("has been compacted"), "{body}");

    // One flipped bit is found.
    flip(Path::new(&file), length / 2)?;
    let refused = utl(&["snapshot", "status", &file])?;
    ensure!(refused.code != 0 && refused.err.contains("expected sha256"), "{refused:?}");
    Ok(())
}

fn flip(path: &Path, offset: u64) -> Result<()> {
    let mut file = std::fs::File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&[byte[0] ^ 1])?;
    Ok(())
}

#[test]
fn a_damaged_log_is_refused_and_repaired() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?;
    let mut store = alone.start(dir.path())?;
    fill(&alone)?;
    store.signal(Signal::SIGTERM)?;
    let data = dir.path().join("data");
    let wal = data.join("member/wal");
    let at = ["--data-dir", &data.display().to_string()];
    let whole = tool(&[&["verify"], &at[..]].concat())?.ok()?;
    let end: u64 = whole
        .split(" bytes: whole")
        .next()
        .and_then(|text| text.rsplit(' ').next())
        .context(whole.clone())?
        .parse()?;
    let nothing = tool(&[&["repair"], &at[..]].concat())?.ok()?;
    ensure!(nothing.contains("nothing to repair"), "{nothing}");

    let first = std::fs::read_dir(&wal)?.next().context("a segment")??.path();
    flip(&first, end / 2)?;
    let refused = tool(&[&["verify"], &at[..]].concat())?;
    ensure!(refused.code == 1, "{refused:?}");
    let mut store =
        keelson_tests::StoreProcess::start(&alone.flags, &[], &dir.path().join("log2"))?;
    ensure!(store.ended()?.code() == Some(1));
    ensure!(store.log().contains("keelson store repair"), "{}", store.log());

    let repaired = tool(&[&["repair"], &at[..]].concat())?.ok()?;
    ensure!(repaired.contains("damaged: ") && repaired.contains("kept: "), "{repaired}");
    ensure!(repaired.contains("wal.damaged.1"), "{repaired}");
    tool(&[&["verify"], &at[..]].concat())?.ok()?;
    let _store = alone.start(dir.path())?;
    let range = post(&alone, "/v3/kv/range", r#"{"key":"YQ=="}"#)?;
    ensure!(range["count"] == "1", "{range}");
    post(&alone, "/v3/kv/put", r#"{"key":"YQ=="}"#)?;
    Ok(())
}
