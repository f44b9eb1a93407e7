//! `keelson chaos`: short runs of ours and of etcd, what it says of wrong input, and that nothing is
//! left when it is killed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use keelson_tests::cluster::binary;
use keelson_tests::{Output, command, scratch, store, wait};

/// For a run of some seconds on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A directory that no run clears away: it is not one of theirs.
fn dir() -> Result<tempfile::TempDir> {
    scratch::dir("chaos-test")
}

fn chaos(dir: &Path, arguments: &[&str]) -> Result<Output> {
    let mut run = Command::new(binary());
    run.arg("chaos").args(arguments).current_dir(dir);
    command::run(run, None, LIMIT)
}

/// A scenario of our own: short, and with what hurts most.
const SCENARIO: &str = "
members: 3
duration: 8s
faults:
- {at: 1s, for: 1s, fault: kill, who: leader}
- {at: 3s, for: 2s, fault: isolate, who: leader}
- {at: 6s, for: 500ms, fault: pause, who: leader}
";

#[test]
fn a_run_of_ours_keeps_every_promise_and_tells_all_of_it() -> Result<()> {
    let dir = dir()?;
    std::fs::write(dir.path().join("s.yaml"), SCENARIO)?;
    let files = ["--history", "h.jsonl", "--report", "r.html"];
    let run = chaos(dir.path(), &[&["--scenario", "s.yaml", "--seed", "7"], &files[..]].concat())?;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("seed c2-7, 3 members"), "{run:?}");
    assert!(run.out.contains("every promise is kept"), "{run:?}");
    let history = std::fs::read_to_string(dir.path().join("h.jsonl"))?;
    for wanted in ["\"fault\":\"isolate\"", "\"role\":\"leader\"", "\"role\":\"down\"", "\"lock\""]
    {
        assert!(history.contains(wanted), "{wanted}");
    }
    // The same verdict from the file, by whoever has it.
    let again = store::run_as(
        "keelson",
        &["check", &dir.path().join("h.jsonl").display().to_string()],
        &[],
    )?;
    assert_eq!(again.code, 0, "{again:?}");
    let report = std::fs::read_to_string(dir.path().join("r.html"))?;
    assert!(report.contains("keelson chaos --seed c2-7"), "the run is in it");
    assert!(!report.contains("src=") && !report.contains("href="), "it needs no other file");
    Ok(())
}

#[test]
fn a_run_of_etcd_is_checked_alike() -> Result<()> {
    let dir = dir()?;
    let scenario = SCENARIO.replace("members: 3", "workload: [register, append, transactions]");
    std::fs::write(dir.path().join("s.yaml"), scenario)?;
    let run = chaos(dir.path(), &["--scenario", "s.yaml", "--server", "etcd", "--seed", "7"])?;
    // Debian's etcd may tell of progress ahead of events, which later ones do not: that is a finding.
    let known = run.out.lines().filter(|line| line.starts_with("BROKEN"));
    let other: Vec<&str> = known.filter(|line| !line.contains("is reached, and then of")).collect();
    assert!(other.is_empty() && run.code <= 1, "{run:?}");
    assert!(run.out.contains("operations on registers"), "{run:?}");
    Ok(())
}

#[test]
fn proxies_on_loopback_do_without_namespaces() -> Result<()> {
    let dir = dir()?;
    let scenario = "
duration: 6s
workload: [register]
faults:
- {at: 1s, for: 1500ms, fault: isolate, who: leader}
- {at: 3s, for: 2s, fault: delay, who: leader, ms: 150}
";
    std::fs::write(dir.path().join("s.yaml"), scenario)?;
    let run = chaos(
        dir.path(),
        &["--scenario", "s.yaml", "--network", "proxies", "--history", "h.jsonl"],
    )?;
    assert_eq!(run.code, 0, "{run:?}");
    let history = std::fs::read_to_string(dir.path().join("h.jsonl"))?;
    let leaders = history.lines().filter(|line| line.contains("\"role\":\"leader\"")).count();
    assert!(leaders >= 2, "a leader that nobody reaches is followed by another: {leaders}");
    Ok(())
}

/// What only a build with failpoints can do to a member.
const FAILPOINT_SCENARIO: &str = "
duration: 10s
workload: [register, leases, compactions]
server-flags: [--heartbeat-interval=50, --election-timeout=400]
faults:
- {at: 1s, for: 3s, fault: clock-jump, who: leader, ms: 7200000}
- {at: 2s, for: 1s, fault: kill, who: leader}
- {at: 4500ms, for: 1500ms, fault: slow-disk, who: leader, ms: 900}
- {at: 7s, for: 1s, fault: fail-sync, who: leader}
";

#[test]
fn members_with_failpoints_have_wrong_clocks_and_bad_disks() -> Result<()> {
    let dir = dir()?;
    std::fs::write(dir.path().join("s.yaml"), FAILPOINT_SCENARIO)?;
    let mut run = Command::new(store::failpoint_binary()?);
    run.args(["chaos", "--scenario", "s.yaml", "--history", "h.jsonl"]).current_dir(dir.path());
    let run = command::run(run, None, LIMIT)?;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.err.contains("not done"), "{run:?}");
    let history = std::fs::read_to_string(dir.path().join("h.jsonl"))?;
    for wanted in [
        "\"type\":\"syncs\"",
        "\"type\":\"stall\"",
        "of its log took",
        "ended by itself",
        "\"op\":\"compact\"",
        "\"role\":\"down\"",
    ] {
        assert!(history.contains(wanted), "{wanted}");
    }
    // Whatever a member's clock says, the history has one.
    let hour = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        line["at"].as_u64().is_some_and(|at| at > 3_600_000_000)
    };
    assert!(!history.lines().any(hour), "no line is of another hour");
    Ok(())
}

#[test]
fn whoever_is_not_root_runs_it_too() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("keelson-test-nobody-").tempdir()?;
    let scenario = "
duration: 3s
workload: [register]
faults: [{at: 1s, for: 1s, fault: kill, who: leader}]
";
    std::fs::write(dir.path().join("s.yaml"), scenario)?;
    let tmp = dir.path().join("tmp");
    std::fs::create_dir(&tmp)?;
    std::fs::copy(binary(), dir.path().join("keelson"))?;
    let everybody = || std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), everybody())?;
    std::fs::set_permissions(&tmp, everybody())?;
    let nobody = |arguments: &[&str]| -> Result<Output> {
        let mut run = Command::new("setpriv");
        run.args(["--reuid=65534", "--regid=65534", "--clear-groups", "./keelson", "chaos"]);
        run.args(arguments).current_dir(dir.path()).env("TMPDIR", &tmp);
        command::run(run, None, LIMIT)
    };
    let run = nobody(&["--scenario", "s.yaml"])?;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(std::fs::read_dir(&tmp)?.count(), 0, "nothing is left");
    for (arguments, wanted) in [
        (["--network", "namespaces"], "need root"),
        (["--scenario", "full-disk"], "disk-full needs root"),
    ] {
        let refused = nobody(&arguments)?;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains(wanted), "{wanted}: {refused:?}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_run_is_refused_with_a_reason() -> Result<()> {
    let dir = dir()?;
    let file = |text: &str| std::fs::write(dir.path().join("s.yaml"), text);
    for (text, wanted) in [
        ("faults: [{at: 1s, fault: earthquake}]", "earthquake"),
        ("faults: [{at: 1s, fault: kill, who: m7}]\nmembers: 3", "there is no m7"),
        ("faults: [{at: 1s, fault: upgrade}]", "--upgrade-to"),
        ("faults: [{at: 1s, fault: delay}]", "needs --network proxies"),
        ("faults: 7", "faults"),
    ] {
        file(text)?;
        let refused = chaos(dir.path(), &["--scenario", "s.yaml", "--network", "namespaces"])?;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains(wanted), "{wanted}: {refused:?}");
    }
    for (arguments, wanted) in [
        (&["--scenario", "nowhere"][..], "one of all-killed"),
        (&["--seed", "c9-1"], "a seed of another version"),
        (&["--server", "/nowhere/etcd"], "there is no binary"),
        (&["--members", "40"], "not from 1 to 9"),
        (&["--report", "/nowhere/r.html"], "the report /nowhere/r.html"),
        (&["--duration", "soon"], "soon"),
        (&["--scenario", "jumping-clocks"], "needs the failpoint build"),
        (&["--scenario", "stalled-leader-disk", "--server", "etcd"], "a server with failpoints"),
    ] {
        let refused = chaos(dir.path(), arguments)?;
        assert!(refused.code != 0 && refused.err.contains(wanted), "{wanted}: {refused:?}");
    }
    // A disk of its own that is small; its mount ends with the namespace.
    let mut full = Command::new("unshare");
    full.args(["--mount", "sh", "-ec", "mount -t tmpfs -o size=9m none tmp; exec \"$0\" chaos"])
        .arg(binary())
        .env("TMPDIR", dir.path().join("tmp"))
        .current_dir(dir.path());
    std::fs::create_dir(dir.path().join("tmp"))?;
    let full = command::run(full, None, LIMIT)?;
    assert_eq!(full.code, 1, "{full:?}");
    assert!(full.err.contains("no room for 3 members") && full.err.contains("9 MiB"), "{full:?}");
    let listed = chaos(dir.path(), &["list"])?;
    assert!(listed.out.contains("leader-isolated"), "{listed:?}");
    Ok(())
}

/// Processes whose arguments name a directory of a run of that process.
fn left(owner: u32) -> Vec<String> {
    let mark = format!("/keelson-chaos-{owner}-");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let arguments = processes.filter_map(|one| std::fs::read(one.path().join("cmdline")).ok());
    let texts = arguments.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    texts.filter(|text| text.contains(&mark)).collect()
}

fn dirs(owner: u32) -> usize {
    let mark = format!("keelson-chaos-{owner}-");
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&mark)).count()
}

#[test]
fn nothing_is_left_of_a_run_that_is_interrupted_or_killed() -> Result<()> {
    let dir = dir()?;
    for signal in ["INT", "TERM", "KILL"] {
        let mut run = Command::new(binary());
        run.args(["chaos", "--duration", "60s"]).current_dir(dir.path());
        let mut run =
            run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let owner = run.id();
        wait::until("members", LIMIT, || Ok((left(owner).len() >= 4).then_some(())))?;
        // As a terminal does: to the run and to its parent alike.
        let pids = if signal == "INT" { children(owner) } else { Vec::new() };
        for pid in pids.into_iter().chain([owner]) {
            let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status()?;
            anyhow::ensure!(sent.success(), "kill {pid}");
        }
        let ended = wait::until("its end", LIMIT, || Ok(run.try_wait()?))?;
        assert!(!ended.success(), "{signal}: {ended}");
        wait::until("the members' end", LIMIT, || Ok(left(owner).is_empty().then_some(())))?;
        if signal == "KILL" {
            let cleaned = chaos(dir.path(), &["clean"])?;
            assert_eq!(cleaned.code, 0, "{cleaned:?}");
        }
        assert_eq!(dirs(owner), 0, "{signal}");
    }
    Ok(())
}

fn children(owner: u32) -> Vec<u32> {
    let path = format!("/proc/{owner}/task/{owner}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A browser that has no window, if there is one.
fn browser() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    })
}

/// The variable that asks for the report to be looked at in a browser.
const BROWSER: &str = "KEELSON_BROWSER";

#[test]
fn the_report_is_shown_by_a_browser_in_light_and_dark() -> Result<()> {
    if std::env::var_os(BROWSER).is_none() {
        return Ok(());
    }
    let browser = browser().context("no Chromium")?;
    let dir = dir()?;
    std::fs::write(dir.path().join("s.yaml"), SCENARIO)?;
    let run = chaos(dir.path(), &["--scenario", "s.yaml", "--report", "r.html"])?;
    assert_eq!(run.code, 0, "{run:?}");
    // What this run had none of.
    let report = std::fs::read_to_string(dir.path().join("r.html"))?;
    let stall =
        r#""lines":[{"type":"stall","at":2000000,"until":4900000,"member":"m0","what":"slow"},"#;
    let broken = r#""findings":[{"promise":"watch","text":"wrong","at":3000000,"drawn":""}]"#;
    let report = report.replacen("\"lines\":[", stall, 1).replacen("\"findings\":[]", broken, 1);
    std::fs::write(dir.path().join("r.html"), report)?;
    let page = format!("file://{}", dir.path().join("r.html").display());
    for dark in [&[][..], &["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]] {
        let mut show = Command::new(browser);
        show.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .args(["--proxy-server=127.0.0.1:9", "--virtual-time-budget=5000", "--dump-dom"])
            .args(dark)
            .arg(&page);
        let shown = command::run(show, None, LIMIT)?;
        assert!(!shown.out.contains("data-error"), "{}", shown.err);
        assert!(shown.out.contains("data-ready=\"members=3 faults=3"), "{}", shown.err);
        // All that the timeline has: links, faults, syncs, stalls, what is broken, roles.
        for wanted in [
            "class=\"latency\"",
            "class=\"fault\"",
            "class=\"link\"",
            "class=\"syncs\"",
            "class=\"stall\"",
            "class=\"broken\"",
            " leader, term ",
            " candidate, term ",
            " follower, term ",
            " down, term ",
            " paused, term ",
        ] {
            assert!(shown.out.contains(wanted), "{wanted} is drawn");
        }
    }
    Ok(())
}
