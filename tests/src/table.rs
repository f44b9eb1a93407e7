//! What kubectl prints in columns, held against a pattern.

use anyhow::{Result, ensure};

/// The cells of a table: columns are at least two spaces apart.
pub fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect())
        .collect()
}

/// Checks a whole table, cell by cell. A cell of the pattern that ends in `*` is a beginning, and
/// `<age>` is an age below two minutes.
pub fn check(text: &str, expected: &[&[&str]]) -> Result<()> {
    let rows = cells(text.trim_end());
    let fits = rows.len() == expected.len()
        && rows.iter().zip(expected).all(|(row, wanted)| {
            row.len() == wanted.len()
                && row.iter().zip(*wanted).all(|(cell, want)| fits(cell, want))
        });
    ensure!(fits, "expected {expected:#?}\nbut kubectl printed\n{text}");
    Ok(())
}

fn fits(cell: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => cell.starts_with(start),
        None if wanted == "<age>" => {
            let number = cell.strip_suffix('s').unwrap_or_default();
            let number = number.strip_prefix("1m").unwrap_or(number);
            number.parse::<u32>().is_ok_and(|seconds| seconds < 120)
        }
        None => cell == wanted,
    }
}
