//! `keelson sim`: a seed is a run, a planted bug is found, and what is printed repeats it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keelson_tests::cluster::binary;
use keelson_tests::command::{self, Output};
use keelson_tests::scratch;
use keelson_tests::store::failpoint_binary;

const LIMIT: Duration = Duration::from_secs(580);
/// The proof that the simulator finds something: each bug within so many seeds and CPU time.
const SEEDS: &str = "1..501";
const CPU: &str = "5m";

fn run(binary: &Path, folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(binary);
    command.arg("sim").args(arguments.split_whitespace()).current_dir(folder);
    command::run(command, None, LIMIT).expect("the simulator ends in time")
}

fn is_nightly() -> bool {
    std::env::var("KEELSON_PLANTED").is_ok_and(|value| value == "all")
}

#[test]
fn the_same_seed_is_the_same_run_byte_for_byte() {
    let scratch = scratch::dir("sim-trace").unwrap();
    let traces: Vec<(String, Vec<u8>)> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let line = format!("--seed 12 --for 5s --trace {name}");
            let output = run(&binary(), scratch.path(), &line);
            assert_eq!(output.code, 0, "{}{}", output.out, output.err);
            // The sum tells the CPU time.
            let first = output.out.lines().next().unwrap_or_default().to_owned();
            (first, std::fs::read(scratch.path().join(name)).unwrap())
        })
        .collect();
    assert!(traces[0].1.len() > 100_000, "{} bytes", traces[0].1.len());
    assert!(traces[0] == traces[1], "two runs of one seed differ");
}

#[test]
fn nothing_is_found_in_what_has_no_planted_bug() {
    let scratch = scratch::dir("sim-clean").unwrap();
    // Seeds that nobody has tried, or those by which planted bugs are found.
    let line = match is_nightly() {
        true => format!("-q --seeds {SEEDS}"),
        false => "-q --time 5s".to_owned(),
    };
    let output = run(&binary(), scratch.path(), &line);
    assert_eq!(output.code, 0, "{}{}", output.out, output.err);
    assert!(output.out.contains("no promise broken"), "{}", output.out);
}

#[test]
fn planted_bugs_are_found() {
    let binary = failpoint_binary().unwrap();
    let scratch = scratch::dir("sim-planted").unwrap();
    let all = run(&binary, scratch.path(), "--bug there-is-none-of-this-name");
    assert_ne!(all.code, 0);
    let names = all.err.split_once("there are ").map(|(_, names)| names.trim()).unwrap_or_default();
    let names: Vec<&str> = names.split(", ").collect();
    assert!(names.len() >= 12, "{names:?}");
    let few = ["serve-reads-when-deposed", "skip-event-on-catch-up", "apply-twice-after-restart"];
    for name in if is_nightly() { &names[..] } else { &few[..] } {
        let line = format!("-q --no-shrink --seeds {SEEDS} --time {CPU} --bug {name}");
        let output = run(&binary, scratch.path(), &line);
        assert_eq!(output.code, 1, "{name} is not found: {}{}", output.out, output.err);
        println!("{name}: {}", output.out.lines().next().unwrap_or_default());
    }
}

#[test]
fn a_failure_is_made_smaller_and_repeated_by_the_command_that_is_printed() {
    let binary = failpoint_binary().unwrap();
    let scratch = scratch::dir("sim-again").unwrap();
    let found = run(&binary, scratch.path(), "-q --seed 1 --bug vote-twice-after-crash");
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    let verdict = |output: &Output| {
        let line = output.out.lines().rfind(|line| line.starts_with("seed 1: one leader a term"));
        line.map(str::to_owned)
    };
    assert!(verdict(&found).is_some(), "{}", found.out);
    let command = found.out.lines().map(str::trim).find(|line| line.starts_with("keelson sim "));
    let command = command.unwrap_or_else(|| panic!("no command in {}", found.out));
    let again = run(&binary, scratch.path(), command.trim_start_matches("keelson sim "));
    assert_eq!(again.code, 1, "{command}: {}{}", again.out, again.err);
    assert_eq!(verdict(&again), verdict(&found), "{command}");
    let trace = std::fs::read_to_string(scratch.path().join("sim.trace")).unwrap();
    assert!(trace.contains("VIOLATION of \"one leader a term\""), "{command}");
}

#[test]
fn output_that_nobody_reads_ends_it_without_a_word() {
    let mut command = Command::new(binary());
    command.args(["sim", "--seeds", "1..3", "--for", "1s"]);
    let (out, err) = (Stdio::piped(), Stdio::piped());
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 13));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn seeds_that_make_no_sense_are_refused() {
    let scratch = scratch::dir("sim-wrong").unwrap();
    for (line, wanted) in [
        ("--seed 7@0.0.1", "is of version 0.0.1"),
        ("--seed seven", "is not a seed"),
        ("--seeds 9..3", "is not a range of seeds"),
        ("--without weather", "there are crash, crash-all"),
        ("--bug reuse-revision", "make failpoints"),
        ("--seed 1 --trace /there/is/no/such/folder", "write /there/is/no/such/folder"),
    ] {
        let output = run(&binary(), scratch.path(), line);
        assert_ne!(output.code, 0, "{line}");
        assert!(output.err.contains(wanted), "{line}: {}", output.err);
    }
}
