//! Figures of several rounds as one.

use serde_json::{Value, json};

/// The median, and how far the rounds lay apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of one figure a round.
    pub(crate) fn of(figures: &[f64]) -> Self {
        Self {
            median: median(figures),
            least: figures.iter().copied().fold(f64::INFINITY, f64::min),
            most: figures.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// For a table.
    pub(crate) fn text(&self) -> String {
        let Self { median, least, most } = *self;
        let digits = if most >= 1000.0 { 0 } else { 2 };
        format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
    }

    /// For a program.
    pub(crate) fn json(&self) -> Value {
        json!({"median": self.median, "least": self.least, "most": self.most})
    }
}

/// The middle one; of an even number, the greater of the two.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
