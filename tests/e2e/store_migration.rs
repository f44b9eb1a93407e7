//! From Debian's etcd to the store and back: nothing that a client can ask for is another.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_tests::store::{Alone, StoreProcess, curl, run_as};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const ROOT: &str = "root:secret";
/// `watch`, `range` and the like begin with this key in base64: `\0`, for all.
const ALL: &str = "AA==";

fn etcdctl(url: &str, arguments: &[&str], input: Option<&str>) -> Result<String> {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", url]).args(arguments);
    keelson_tests::run(command, input, LIMIT)?.ok().with_context(|| format!("{arguments:?}"))
}

fn start_etcd(alone: &Alone, dir: &Path) -> Result<StoreProcess> {
    let mut process = StoreProcess::start_etcd(&alone.flags, &dir.join("log"))?;
    process.logged("serving client traffic").context("Debian's etcd (package etcd-server)")?;
    Ok(process)
}

/// A member of its own below `dir/name`.
fn alone(dir: &Path, name: &str) -> Result<(Alone, std::path::PathBuf)> {
    let dir = dir.join(name);
    std::fs::create_dir(&dir)?;
    Ok((Alone::new(&dir, "http")?, dir))
}

/// History, a lease, deletions, compactions, users.
fn fill(url: &str) -> Result<()> {
    let run = |arguments: &[&str]| etcdctl(url, arguments, None);
    for number in 0..40 {
        run(&["put", &format!("key{}", number % 7), &format!("value {number}")])?;
    }
    let granted = run(&["lease", "grant", "86400"])?;
    let lease = granted.split_whitespace().nth(1).context("a lease")?.to_owned();
    run(&["put", "leased", "x", "--lease", &lease])?;
    run(&["put", "once leased", "x", "--lease", &lease])?;
    run(&["put", "once leased", "free"])?;
    run(&["del", "key3"])?;
    run(&["put", "key3", "again"])?;
    run(&["del", "key4"])?;
    run(&["compact", "20"])?;
    run(&["compact", "44"])?;
    let large = "0123456789abcdef".repeat(20_000);
    etcdctl(url, &["put", "large"], Some(&large))?;
    // Two keys at one revision, and bytes that are not text.
    let txn = "\n\nput \"b\\x00\\xff\\n'\\\"\" \"\\x00\\n\"\nput -- \"-dash\" \"--value\"\ndel key6\n\n\n";
    etcdctl(url, &["txn"], Some(txn))?;
    run(&["put", "key1", "last"])?;
    for arguments in [
        &["role", "add", "reader"][..],
        &["role", "grant-permission", "reader", "read", "key", "--prefix"],
        &["role", "add", "root"],
        &["user", "add", ROOT],
        &["user", "add", "alice:wonder"],
        &["user", "grant-role", "alice", "reader"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        run(arguments)?;
    }
    Ok(())
}

/// What a gateway answers to root, without what belongs to the cluster.
fn ask(url: &str, path: &str, body: &Value) -> Result<Value> {
    let login = json!({"name": "root", "password": "secret"}).to_string();
    let (_, token) = curl(&["-d", &login, &format!("{url}/v3/auth/authenticate")])?;
    let token: Value = serde_json::from_str(&token)?;
    let header = format!("Authorization: {}", token["token"].as_str().context("a token")?);
    let (status, body) = curl(&["-H", &header, "-d", &body.to_string(), &format!("{url}{path}")])?;
    let mut answer: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
    if let Some(fields) = answer.as_object_mut() {
        // Since 3.6 an error is its code and message alone.
        fields.remove("error");
        if let Some(header) = fields.get_mut("header").and_then(Value::as_object_mut) {
            header.retain(|name, _| name == "revision");
        }
    }
    Ok(json!([status, answer]))
}

/// The events from a revision on, up to the one that sets `key1` to `last`.
fn watched(url: &str, from: i64) -> Result<Vec<Value>> {
    use std::io::{BufRead as _, BufReader};
    let login = json!({"name": "root", "password": "secret"}).to_string();
    let (_, token) = curl(&["-d", &login, &format!("{url}/v3/auth/authenticate")])?;
    let token: Value = serde_json::from_str(&token)?;
    let header = format!("Authorization: {}", token["token"].as_str().context("a token")?);
    let create = json!({"create_request": {
        "key": ALL, "range_end": ALL, "start_revision": from, "prev_kv": true,
    }});
    let mut child = Command::new("curl")
        .args(["-s", "-N", "--max-time", "30", "-H", &header, "-d", &create.to_string()])
        .arg(format!("{url}/v3/watch"))
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut events: Vec<Value> = Vec::new();
    for line in BufReader::new(child.stdout.take().context("output")?).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        events.extend(line["result"]["events"].as_array().cloned().unwrap_or_default());
        if events.last().is_some_and(|last| last["kv"]["value"] == "bGFzdA==") {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(events)
}

/// The hash of the history; etcd 3.4 has it by gRPC alone.
fn hash_kv(url: &str, revision: &str) -> Result<(String, Value)> {
    let asked = ["--user", ROOT, "endpoint", "hashkv", "-w", "json", "--rev", revision];
    let hash: Value = serde_json::from_str(&etcdctl(url, &asked, None)?)?;
    let hash = hash[0]["HashKV"]["hash"].clone();
    ensure!(hash.is_number(), "no hash");
    Ok((format!("hash at {revision}"), hash))
}

/// All that clients can learn, as far as it does not differ from one moment to the next.
fn all_answers(url: &str) -> Result<Vec<(String, Value)>> {
    let mut asked = vec![
        ("/v3/lease/leases".to_owned(), json!({})),
        ("/v3/auth/user/list".to_owned(), json!({})),
        ("/v3/auth/user/get".to_owned(), json!({"name": "alice"})),
        ("/v3/auth/role/list".to_owned(), json!({})),
        ("/v3/auth/role/get".to_owned(), json!({"role": "reader"})),
    ];
    for revision in [0, 43, 44, 45, 46, 47, 48, 49, 100] {
        let range = json!({"key": ALL, "range_end": ALL, "revision": revision});
        asked.push(("/v3/kv/range".to_owned(), range));
    }
    let mut answers = vec![hash_kv(url, "0")?, hash_kv(url, "46")?];
    for (path, body) in asked {
        let answer = ask(url, &path, &body)?;
        answers.push((format!("{path} {body}"), answer));
    }
    let leases = ask(url, "/v3/lease/leases", &json!({}))?;
    let lease = leases[1]["leases"][0]["ID"].clone();
    let mut left = ask(url, "/v3/lease/timetolive", &json!({"ID": lease, "keys": true}))?;
    left[1].as_object_mut().context("an object")?.remove("TTL");
    answers.push(("lease".to_owned(), left));
    answers.push(("watch".to_owned(), Value::Array(watched(url, 44)?)));
    Ok(answers)
}

fn import(file: &str, into: &Alone, flags: &[&str]) -> Result<keelson_tests::Output> {
    let wanted = ["--data-dir", "--name", "--initial-cluster", "--initial-advertise-peer-urls"];
    let mut arguments = vec!["store", "import", file];
    for pair in into.flags.chunks(2).filter(|pair| wanted.contains(&pair[0].as_str())) {
        arguments.extend(pair.iter().map(String::as_str));
    }
    arguments.extend(flags);
    run_as("keelson", &arguments, &[])
}

#[test]
fn an_etcd_is_taken_over_with_its_history() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (etcd, etcd_dir) = alone(dir.path(), "etcd")?;
    let mut process = start_etcd(&etcd, &etcd_dir)?;
    fill(&etcd.url)?;
    let snapshot = dir.path().join("snapshot.db").display().to_string();
    etcdctl(&etcd.url, &["--user", ROOT, "snapshot", "save", &snapshot], None)?;
    let wanted = all_answers(&etcd.url)?;
    process.signal(Signal::SIGTERM)?;

    let hash = run_as("etcdutl", &["hashkv", &snapshot, "-w", "json"], &[])?.ok()?;
    let hash: Value = serde_json::from_str(&hash)?;
    ensure!(wanted[0].1 == hash["hash"], "{hash} {:?}", wanted[0]);

    // Only the number of keys has another meaning since etcd 3.6: those that exist.
    let status = |program: &str, out: keelson_tests::Output| -> Result<Value> {
        let mut status: Value = serde_json::from_str(&out.ok()?).context(program.to_owned())?;
        let fields = status.as_object_mut().context("an object")?;
        fields.remove("version");
        fields.remove("totalKey");
        Ok(status)
    };
    let asked = ["snapshot", "status", &snapshot, "-w", "json"];
    let ours = status("etcdutl", run_as("etcdutl", &asked, &[])?)?;
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(asked);
    let theirs = status("etcdctl", keelson_tests::run(command, None, LIMIT)?)?;
    ensure!(ours == theirs, "{ours} {theirs}");

    // The file as it was copied has no hash.
    let raw = etcd_dir.join("data/member/snap/db").display().to_string();
    for (name, file, flags) in
        [("saved", snapshot.as_str(), &[][..]), ("copied", &raw, &["--skip-hash-check"])]
    {
        let (new, new_dir) = alone(dir.path(), name)?;
        if !flags.is_empty() {
            let refused = import(file, &new, &[])?;
            ensure!(refused.code == 1 && refused.err.contains("missing hash"), "{refused:?}");
        }
        let said = import(file, &new, flags)?;
        ensure!(said.code == 0 && said.err.contains("restored snapshot"), "{said:?}");
        ensure!(import(file, &new, flags)?.err.contains("not empty"), "it was overwritten");
        let _process = new.start(&new_dir)?;
        for (asked, answered) in wanted.iter().zip(all_answers(&new.url)?) {
            ensure!(*asked == answered, "{}:\n{}\n{}", asked.0, asked.1, answered.1);
        }
        let alice = ["--user", "alice:wonder"];
        let read = etcdctl(&new.url, &[&alice[..], &["get", "key1"]].concat(), None)?;
        ensure!(read == "key1\nlast\n", "{read}");
        ensure!(etcdctl(&new.url, &[&alice[..], &["get", "leased"]].concat(), None).is_err());
        // It goes on where the etcd was.
        let put = etcdctl(&new.url, &["--user", ROOT, "-w", "json", "put", "key1", "new"], None)?;
        let put: Value = serde_json::from_str(&put)?;
        ensure!(put["header"]["revision"] == 50, "{put}");
    }
    Ok(())
}

/// Flips one byte of a file.
fn flip(path: &Path, offset: u64) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    Ok(file.write_all_at(&[byte[0] ^ 0x81], offset)?)
}

#[test]
fn a_damaged_etcd_is_refused_in_words() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (etcd, etcd_dir) = alone(dir.path(), "etcd")?;
    let mut process = start_etcd(&etcd, &etcd_dir)?;
    fill(&etcd.url)?;
    process.signal(Signal::SIGTERM)?;
    let raw = etcd_dir.join("data/member/snap/db");
    let length = std::fs::metadata(&raw)?.len();
    let damaged = dir.path().join("damaged.db");
    let text = damaged.display().to_string();
    let read = || run_as("keelson", &["store", "hashkv", &text, "--skip-hash-check"], &[]);
    // Heads of pages, and places between; whatever is found, it is said, and the process ends.
    for place in (0..length).step_by(usize::try_from(length)? / 40).map(|at| at / 4096 * 4096) {
        for offset in [8, 10, 12, 20, 28, 100] {
            std::fs::copy(&raw, &damaged)?;
            flip(&damaged, (place + offset).min(length - 1))?;
            let said = read()?;
            ensure!(said.code == 0 || said.code == 1, "flipped at {place}+{offset}: {said:?}");
        }
    }
    for cut in [0, 3, 4095, 4096, 8192, length / 2] {
        std::fs::copy(&raw, &damaged)?;
        File::options().write(true).open(&damaged)?.set_len(cut)?;
        let said = read()?;
        ensure!(said.code == 1 && said.err.starts_with("keelson: "), "cut at {cut}: {said:?}");
    }
    std::fs::write(&damaged, vec![b'x'; 8192])?;
    ensure!(read()?.err.contains("not a bbolt database"), "{:?}", read()?);
    let (new, _) = alone(dir.path(), "new")?;
    ensure!(import(&text, &new, &["--skip-hash-check"])?.code == 1);
    let data = new.flags[3].clone();
    ensure!(!Path::new(&data).join("member").exists(), "half a member stays behind");
    Ok(())
}

/// Keys and values, in base64, in order.
fn pairs(url: &str, user: &[&str]) -> Result<Vec<(String, String)>> {
    let all = etcdctl(url, &[user, &["get", "", "--from-key", "-w", "json"]].concat(), None)?;
    let all: Value = serde_json::from_str(&all)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kvs = all["kvs"].as_array().cloned().unwrap_or_default();
    Ok(kvs.iter().map(|kv| (text(&kv["key"]), text(&kv["value"]))).collect())
}

#[test]
fn what_is_exported_stock_etcdctl_puts_into_an_etcd() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (ours, ours_dir) = alone(dir.path(), "ours")?;
    let mut process = ours.start(&ours_dir)?;
    fill(&ours.url)?;
    for hundred in 0..3 {
        let puts: String =
            (0..100).map(|n| format!("put many/{hundred}{n:02} \"v\\n{n}\"\n")).collect();
        etcdctl(&ours.url, &["--user", ROOT, "txn"], Some(&format!("\n{puts}\n\n")))?;
    }
    let wanted = pairs(&ours.url, &["--user", ROOT])?;
    ensure!(wanted.len() > 300, "{} keys", wanted.len());
    let live = ["store", "export", "--endpoints", &ours.url, "--user", ROOT];
    let live = run_as("keelson", &live, &[])?.ok()?;
    let refused = run_as("keelson", &["store", "export", "--endpoints", &ours.url], &[])?;
    ensure!(refused.code == 1 && refused.err.contains("user name is empty"), "{refused:?}");
    process.signal(Signal::SIGTERM)?;
    let data = ours_dir.join("data").display().to_string();
    let stopped = run_as("keelson", &["store", "export", "--data-dir", &data], &[])?.ok()?;
    ensure!(live == stopped, "a member that runs and its files differ");
    ensure!(stopped.contains("# 1 of these keys had leases"), "the lease is not spoken of");

    let (etcd, etcd_dir) = alone(dir.path(), "etcd")?;
    let _etcd = start_etcd(&etcd, &etcd_dir)?;
    let mut shell = Command::new("sh");
    shell.env("ETCDCTL_ENDPOINTS", &etcd.url);
    keelson_tests::run(shell, Some(&stopped), LIMIT)?.ok()?;
    ensure!(pairs(&etcd.url, &[])? == wanted, "the etcd has other keys");

    let lines = ["store", "export", "--data-dir", &data, "-w", "json"];
    let lines = run_as("keelson", &lines, &[])?.ok()?;
    let mut found = Vec::new();
    for line in lines.lines() {
        let kv: Value = serde_json::from_str(line)?;
        let text = |name: &str| kv[name].as_str().unwrap_or_default().to_owned();
        found.push((text("key"), text("value")));
    }
    ensure!(found == wanted, "the lines have other keys");
    Ok(())
}
