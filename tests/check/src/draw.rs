//! A few operations, drawn: clients are rows, time goes to the right, as far as it says who was
//! before whom.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::deed::Deed;

/// One operation in its place, in characters.
struct Bar<'a> {
    row: usize,
    from: usize,
    to: usize,
    deed: &'a Deed,
}

/// Where everything stands.
struct Layout<'a> {
    rows: Vec<&'a str>,
    bars: Vec<Bar<'a>>,
    width: usize,
}

/// What a bar has beside its label: its ends, and a blank at each.
const ENDS: usize = 4;

fn layout(deeds: &[Deed]) -> Layout<'_> {
    let mut times: Vec<u64> =
        deeds.iter().flat_map(|deed| [Some(deed.called), deed.returned]).flatten().collect();
    times.sort_unstable();
    times.dedup();
    let rank = |time: u64| times.partition_point(|one| *one < time);
    let width = |deed: &Deed| deed.label.chars().count() + ENDS;
    // Each moment stands so far to the right that every operation that ends there has room.
    let mut places = vec![0_usize; times.len()];
    for at in 0..times.len() {
        let ending = deeds.iter().filter(|deed| deed.returned.map(rank) == Some(at));
        let room = ending.map(|deed| places[rank(deed.called)] + width(deed)).max().unwrap_or(0);
        let after = at.checked_sub(1).map_or(0, |before| places[before] + 2);
        places[at] = room.max(after);
    }
    let mut rows: Vec<(&str, usize)> = Vec::new();
    let mut bars = Vec::new();
    let mut sorted: Vec<&Deed> = deeds.iter().collect();
    sorted.sort_by_key(|deed| (deed.client.as_str(), deed.called));
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for deed in sorted {
        let from = places[rank(deed.called)];
        let to = deed.returned.map_or(from + width(deed), |returned| places[rank(returned)]);
        let row = last.get(deed.client.as_str()).copied().filter(|row| rows[*row].1 < from);
        let row = row.unwrap_or_else(|| {
            rows.push((&deed.client, 0));
            rows.len() - 1
        });
        rows[row].1 = to;
        last.insert(&deed.client, row);
        bars.push(Bar { row, from, to, deed });
    }
    let width = bars.iter().map(|bar| bar.to + 1).max().unwrap_or(0);
    Layout { rows: rows.into_iter().map(|(client, _)| client).collect(), bars, width }
}

/// As lines of text.
pub fn text(deeds: &[Deed]) -> String {
    let layout = layout(deeds);
    let names = layout.rows.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut drawn = String::new();
    for (row, name) in layout.rows.iter().enumerate() {
        let mut line = vec![' '; layout.width];
        for bar in layout.bars.iter().filter(|bar| bar.row == row) {
            let end = if bar.deed.returned.is_some() { '┤' } else { '…' };
            for (at, place) in line.iter_mut().enumerate().take(bar.to + 1).skip(bar.from) {
                *place = match at {
                    at if at == bar.from => '├',
                    at if at == bar.to => end,
                    _ => '─',
                };
            }
            let room = bar.to - bar.from - 1;
            let label: Vec<char> = format!(" {} ", bar.deed.label).chars().collect();
            let start = bar.from + 1 + room.saturating_sub(label.len()) / 2;
            for (at, character) in label.into_iter().enumerate().take(room) {
                line[start + at] = character;
            }
        }
        let line: String = line.into_iter().collect();
        let _infallible = writeln!(drawn, "  {name:names$}  {}", line.trim_end());
    }
    drawn
}

/// Pixels of a character and of a row.
const CHARACTER: usize = 7;
const ROW: usize = 34;
const MARGIN: usize = 8;

/// As a picture for a web page, which takes its colours from the page.
pub fn svg(deeds: &[Deed]) -> String {
    let layout = layout(deeds);
    let names = layout.rows.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let left = MARGIN * 2 + names * CHARACTER;
    let width = left + layout.width * CHARACTER + MARGIN;
    let height = layout.rows.len() * ROW + MARGIN;
    let mut drawn = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"ui-monospace, monospace\" \
         font-size=\"11\" fill=\"currentColor\">"
    );
    for (row, name) in layout.rows.iter().enumerate() {
        let y = row * ROW + ROW / 2 + 8;
        let _infallible = write!(drawn, "<text x=\"{MARGIN}\" y=\"{y}\">{}</text>", escape(name));
    }
    for bar in &layout.bars {
        let (x, y) = (left + bar.from * CHARACTER, bar.row * ROW + MARGIN);
        let (wide, high) = ((bar.to - bar.from) * CHARACTER, ROW - MARGIN - 2);
        let dashes = if bar.deed.returned.is_some() { "" } else { " stroke-dasharray=\"4 3\"" };
        let (middle, base) = (x + wide / 2, y + high / 2 + 4);
        let label = escape(&bar.deed.label);
        let _infallible = write!(
            drawn,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" rx=\"4\" fill=\"none\" \
             stroke=\"currentColor\"{dashes}/><text x=\"{middle}\" y=\"{base}\" \
             text-anchor=\"middle\">{label}</text>"
        );
    }
    drawn.push_str("</svg>");
    drawn
}

/// Text as it may stand in HTML.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(client: &str, called: u64, returned: Option<u64>, label: &str) -> Deed {
        let (client, label) = (client.to_owned(), label.to_owned());
        Deed { client, called, returned, label, ..Deed::default() }
    }

    #[test]
    fn who_was_before_whom_is_seen() {
        let deeds = [
            deed("a", 1, Some(4), "x = 1"),
            deed("b", 2, Some(3), "read x → 1"),
            deed("b", 5, None, "x = 2 → ?"),
        ];
        let drawn = text(&deeds);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 2, "{drawn}");
        assert!(lines[0].contains("x = 1") && lines[1].ends_with('…'), "{drawn}");
        let end = |line: &str| line.chars().position(|one| one == '┤').unwrap();
        assert!(end(lines[0]) > end(lines[1]), "{drawn}");
    }

    #[test]
    fn a_picture_escapes_what_it_names() {
        let drawn = svg(&[deed("<a>", 1, None, "k & \"v\"")]);
        assert!(drawn.contains("&lt;a&gt;") && drawn.contains("k &amp; &quot;v&quot;"), "{drawn}");
    }
}
