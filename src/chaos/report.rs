//! The report: one HTML page with everything in it.

use anyhow::Result;
use keelson_check::{Recorded, Verdict, svg};
use serde_json::json;

/// The page, but for what it shows.
const PAGE: &str = include_str!("report.html");
/// Where that goes.
const PLACE: &str = "/*RUN*/null";

/// The page of a run.
pub fn page(recorded: &Recorded, verdict: &Verdict) -> Result<String> {
    let findings = verdict.findings.iter().map(|finding| {
        let drawn = if finding.part.is_empty() { String::new() } else { svg(&finding.part) };
        json!({
            "promise": finding.promise.to_string(),
            "text": finding.text,
            "at": finding.at,
            "drawn": drawn,
        })
    });
    let run = json!({
        "header": recorded.header,
        "lines": recorded.lines,
        "findings": findings.collect::<Vec<_>>(),
        "undecided": verdict.undecided,
        "counts": verdict.counts,
    });
    // Nothing in it may end the script that it stands in.
    let run = serde_json::to_string(&run)?.replace("</", "<\\/").replace("<!", "<\\u0021");
    Ok(PAGE.replacen(PLACE, &run, 1))
}
