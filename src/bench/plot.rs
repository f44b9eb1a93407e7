//! Bar charts as one self-contained SVG, readable on light and on dark pages.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

const WIDTH: f64 = 960.0;
const LABEL: f64 = 290.0;
const VALUE: f64 = 110.0;
const ROW: f64 = 20.0;
const HEAD: f64 = 56.0;
/// Colours of the series, which both backgrounds bear.
const COLOURS: [&str; 4] = ["#2f81c7", "#e07b39", "#4c9f70", "#b65fc4"];

/// How long a bar is for its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// In proportion.
    Linear,
    /// As its logarithm, from the power of ten below the least on.
    Log,
}

/// One chart.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    /// What is shown, and in what unit.
    pub(crate) title: String,
    pub(crate) scale: Scale,
    /// Names of the series.
    pub(crate) series: Vec<String>,
    /// Each with a value for each series, none where there is none.
    pub(crate) rows: Vec<(String, Vec<Option<f64>>)>,
}

/// Fails at once where nothing could be written at the end.
pub(crate) fn check(path: &Path) -> Result<()> {
    std::fs::File::create(path).with_context(|| format!("write {}", path.display())).map(drop)
}

/// Writes the charts one below the other.
pub(crate) fn write(path: &Path, heading: &str, plots: &[Plot]) -> Result<()> {
    std::fs::write(path, svg(heading, plots)).with_context(|| format!("write {}", path.display()))
}

fn svg(heading: &str, plots: &[Plot]) -> String {
    let tall: f64 = 40.0 + plots.iter().map(height).sum::<f64>();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{tall}\" \
         viewBox=\"0 0 {WIDTH} {tall}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>text{{fill:#222}}.back{{fill:#fff}}.line{{stroke:#ccc}}\
         @media(prefers-color-scheme:dark){{text{{fill:#ddd}}.back{{fill:#16181c}}\
         .line{{stroke:#444}}}}</style>\n\
         <rect class=\"back\" width=\"100%\" height=\"100%\"/>\n\
         <text x=\"12\" y=\"26\" font-size=\"16\">{}</text>\n",
        escape(heading)
    );
    let mut top = 40.0;
    for plot in plots {
        chart(&mut out, plot, top);
        top += height(plot);
    }
    out.push_str("</svg>\n");
    out
}

fn height(plot: &Plot) -> f64 {
    HEAD + plot.rows.iter().map(|(_, values)| row_height(values)).sum::<f64>()
}

fn row_height(values: &[Option<f64>]) -> f64 {
    values.len() as f64 * ROW * 0.7 + ROW * 0.5
}

fn chart(out: &mut String, plot: &Plot, top: f64) {
    let values = || plot.rows.iter().flat_map(|(_, values)| values.iter().flatten().copied());
    let most = values().fold(f64::MIN_POSITIVE, f64::max);
    let least = values().filter(|value| *value > 0.0).fold(most, f64::min);
    let floor = least.log10().floor().min(most.log10() - 1.0);
    let room = WIDTH - LABEL - VALUE;
    let length = |value: f64| match plot.scale {
        Scale::Linear => value / most * room,
        Scale::Log if value <= 0.0 => 0.0,
        Scale::Log => (value.log10() - floor) / (most.log10() - floor) * room,
    };
    let _infallible =
        writeln!(out, "<text x=\"12\" y=\"{}\" font-size=\"14\">{}</text>", top + 20.0, {
            escape(&plot.title)
        });
    let mut x = LABEL;
    for (name, colour) in plot.series.iter().zip(COLOURS.iter().cycle()) {
        let _infallible = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            top + 30.0,
            x + 14.0,
            top + 39.0,
            escape(name)
        );
        x += 34.0 + name.chars().count() as f64 * 7.0;
    }
    let mut y = top + HEAD - 6.0;
    for (label, values) in &plot.rows {
        let tall = row_height(values);
        let _infallible = writeln!(
            out,
            "<line class=\"line\" x1=\"{LABEL}\" x2=\"{LABEL}\" y1=\"{y}\" y2=\"{}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            y + tall,
            LABEL - 8.0,
            y + tall / 2.0 + 2.0,
            escape(label)
        );
        for (index, value) in values.iter().enumerate() {
            let at = y + 3.0 + index as f64 * ROW * 0.7;
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            let width = length(value).max(1.0);
            let _infallible = writeln!(
                out,
                "<rect x=\"{LABEL}\" y=\"{at}\" width=\"{width:.1}\" height=\"{}\" \
                 fill=\"{}\"/><text x=\"{:.1}\" y=\"{}\" font-size=\"11\">{}</text>",
                ROW * 0.6,
                COLOURS[index % COLOURS.len()],
                LABEL + width + 5.0,
                at + ROW * 0.5,
                short(value)
            );
        }
        y += tall;
    }
}

fn short(value: f64) -> String {
    match value {
        large if large >= 10_000.0 => format!("{:.1}k", large / 1000.0),
        some if some >= 100.0 => format!("{some:.0}"),
        few => format!("{few:.2}"),
    }
}

/// Text as XML has it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_bar_for_every_value() {
        let plot = Plot {
            title: "latency, ms".to_owned(),
            scale: Scale::Log,
            series: vec!["p50".to_owned(), "p99 <x>".to_owned()],
            rows: vec![
                ("put × 1".to_owned(), vec![Some(0.5), Some(20.0)]),
                ("put × 100".to_owned(), vec![Some(0.0), None]),
            ],
        };
        let text = svg("a & b", &[plot]);
        assert!(text.contains("a &amp; b") && text.contains("p99 &lt;x&gt;"));
        // Three values, two in the legend, one in the back.
        assert_eq!(text.matches("<rect").count(), 6);
        assert!(!text.contains("NaN") && !text.contains("inf"));
    }
}
