//! Which feature gates are off by default in the release.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

/// Names of gates whose newest default is false.
pub(crate) fn switched_off(file: &Path) -> Result<BTreeSet<String>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(file)?;
    let start = Regex::new(r"^\t([A-Za-z0-9.]+): \{$")?;
    let default = Regex::new(r"Default: (true|false)")?;
    let mut off = BTreeSet::new();
    let mut gate: Option<(String, bool)> = None;
    for line in text.lines() {
        if let Some(found) = start.captures(line) {
            let name = found[1].rsplit('.').next().unwrap_or_default().to_owned();
            gate = Some((name, true));
        } else if line == "\t}," {
            if let Some((name, false)) = gate.take() {
                off.insert(name);
            }
        } else if let (Some((_, on)), Some(found)) = (&mut gate, default.captures(line)) {
            *on = &found[1] == "true";
        }
    }
    Ok(off)
}
