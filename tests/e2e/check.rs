//! `keelson check`: what it prints, how it ends, and what it says of files that are no histories.

use std::path::Path;

use anyhow::Result;
use keelson_tests::{Output, scratch, store};

const HEADER: &str = r#"{"history":"keelson","version":1,"about":"by hand"}"#;
const WRITES: &str = r#"{"type":"op","client":"a","call":1,"return":2,"request":{"op":"write","key":"x","value":"1"},"outcome":"ok"}
{"type":"op","client":"a","call":3,"return":4,"request":{"op":"write","key":"x","value":"2"},"outcome":"ok"}"#;
const STALE: &str = r#"{"type":"op","client":"b","call":5,"return":6,"request":{"op":"read","key":"x"},"outcome":"ok","response":{"value":"1"}}"#;

fn check(dir: &Path, text: &str, more: &[&str]) -> Result<Output> {
    let file = dir.join("history.jsonl");
    std::fs::write(&file, text)?;
    let file = file.display().to_string();
    store::run_as("keelson", &[&["check", file.as_str()], more].concat(), &[])
}

#[test]
fn a_broken_promise_is_drawn_and_ends_with_one() -> Result<()> {
    let dir = scratch::dir("check")?;
    let kept = check(dir.path(), &format!("{HEADER}\n{WRITES}\n"), &[])?;
    assert_eq!(kept.code, 0, "{kept:?}");
    assert!(kept.out.contains("every promise is kept"), "{kept:?}");
    let page = dir.path().join("page.html").display().to_string();
    let text = format!("{HEADER}\n{WRITES}\n{STALE}\n");
    let broken = check(dir.path(), &text, &["--html", &page])?;
    assert_eq!(broken.code, 1, "{broken:?}");
    for wanted in ["BROKEN (linearizability)", "read x → 1 ", "x = 2 → done", "1 promise is broken"]
    {
        assert!(broken.out.contains(wanted), "{wanted}: {broken:?}");
    }
    let page = std::fs::read_to_string(page)?;
    assert!(page.contains("<svg") && page.contains("read x → 1"), "{page}");
    Ok(())
}

#[test]
fn what_is_no_history_is_refused_with_a_reason() -> Result<()> {
    let dir = scratch::dir("check")?;
    for (text, wanted) in [
        (String::new(), "the history is empty"),
        ("{\"history\":\"keelson\",\"version\":2}\n".to_owned(), "of version 2"),
        (format!("{HEADER}\n{WRITES}\n{{\"type\":\"op\",\"cl"), "line 4, the last one, is torn"),
        (format!("{HEADER}\n{{\"type\":\"op\"}}\n"), "line 2: missing field"),
        ("key: value\n".to_owned(), "this is no history"),
    ] {
        let refused = check(dir.path(), &text, &[])?;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains(wanted), "{wanted}: {refused:?}");
    }
    let torn = format!("{HEADER}\n{WRITES}\n{{\"type\":\"op\",\"cl");
    assert_eq!(check(dir.path(), &torn, &["--torn"])?.code, 0);
    let missing = store::run_as("keelson", &["check", "/nowhere"], &[])?;
    assert!(missing.code == 1 && missing.err.contains("read /nowhere"), "{missing:?}");
    Ok(())
}
