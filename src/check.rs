//! `keelson check`: holds a recorded history, of ours or of Jepsen's, against what a store promises.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;
use keelson_check::{Limits, Recorded, Torn, Verdict, check, escape, read, svg, text};

/// `keelson check`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The history: JSON lines (docs/chaos.md), or Jepsen's EDN.
    pub history: PathBuf,
    /// Check what stands before a last line that ends in the middle.
    #[arg(long)]
    pub torn: bool,
    /// Draw what is wrong into this file too, as a web page that needs no other.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Give up the search for an order of one register's operations after so many steps.
    #[arg(long, default_value_t = Limits::default().steps)]
    pub steps: u64,
}

/// What the exit code is when something could not be decided.
const UNDECIDED: u8 = 3;

/// Checks and prints. Exit code 0: every promise is kept; 1: one is broken, or the file cannot be
/// read; 3: that could not be decided.
pub fn run(options: &Options) -> Result<ExitCode> {
    let name = options.history.display();
    let bytes = std::fs::read(&options.history).with_context(|| format!("read {name}"))?;
    let content = String::from_utf8(bytes).with_context(|| format!("{name} is no text"))?;
    let torn = if options.torn { Torn::Drop } else { Torn::Refuse };
    let recorded = read(&content, torn).with_context(|| name.to_string())?;
    let begin = Instant::now();
    let verdict = check(&recorded, Limits { steps: options.steps });
    print!("{}", told(&verdict));
    println!("checked in {:.2} s", begin.elapsed().as_secs_f64());
    if let Some(file) = &options.html {
        std::fs::write(file, page(&options.history, &recorded, &verdict))
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(exit_code(&verdict))
}

/// How a command ends that has come to this verdict.
pub fn exit_code(verdict: &Verdict) -> ExitCode {
    match (verdict.findings.is_empty(), verdict.undecided.is_empty()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(UNDECIDED),
        (true, true) => ExitCode::SUCCESS,
    }
}

/// The verdict for a terminal.
pub fn told(verdict: &Verdict) -> String {
    let mut told = String::new();
    for finding in &verdict.findings {
        told.push_str(&format!("BROKEN ({}): {}\n", finding.promise, finding.text));
        if !finding.part.is_empty() {
            told.push_str(&format!("\n{}\n", text(&finding.part)));
        }
    }
    for undecided in &verdict.undecided {
        told.push_str(&format!("UNDECIDED: {undecided}\n"));
    }
    let counts = verdict.counts.iter().map(|(what, count)| format!("{count} {what}"));
    let counts: Vec<String> = counts.collect();
    let verdict = match (verdict.findings.len(), verdict.undecided.len()) {
        (0, 0) => "every promise is kept".to_owned(),
        (0, _) => "nothing broken was found, and not everything could be decided".to_owned(),
        (1, _) => "1 promise is broken".to_owned(),
        (many, _) => format!("{many} promises are broken"),
    };
    told.push_str(&format!("{verdict}: {}\n", counts.join(", ")));
    told
}

/// The verdict as a page of its own.
fn page(history: &Path, recorded: &Recorded, verdict: &Verdict) -> String {
    let mut body = String::new();
    for finding in &verdict.findings {
        let (promise, what) = (finding.promise.to_string(), escape(&finding.text));
        body.push_str(&format!("<h2>Broken: {promise}</h2><p>{what}</p>"));
        body.push_str(&format!("<div class=drawn>{}</div>", svg(&finding.part)));
    }
    for undecided in &verdict.undecided {
        body.push_str(&format!("<h2>Undecided</h2><p>{}</p>", escape(undecided)));
    }
    for (what, count) in &verdict.counts {
        body.push_str(&format!("<p>{count} {what}</p>"));
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>\
         <style>:root{{color-scheme:light dark}}body{{font:15px system-ui;margin:2em}}\
         .drawn{{overflow-x:auto}}</style><h1>{title}</h1><p>{about}</p>{body}</html>",
        title = escape(&history.display().to_string()),
        about = escape(&recorded.header.about),
    )
}
