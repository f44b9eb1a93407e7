//! Counts results until a threshold is reached. Pure.

/// Which probe of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    /// As events name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// The run of equal results so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streak {
    last: Option<bool>,
    length: u32,
}

impl Streak {
    /// Counts one result; the verdict when its threshold is reached.
    pub(crate) fn count(&mut self, healthy: bool, success: u32, failure: u32) -> Option<bool> {
        if self.last == Some(healthy) {
            self.length = self.length.saturating_add(1);
        } else {
            *self = Self { last: Some(healthy), length: 1 };
        }
        let threshold = if healthy { success } else { failure };
        (self.length >= threshold.max(1)).then_some(healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_its_threshold_in_a_row() {
        let mut streak = Streak::default();
        let results = [false, false, true, false, false, false];
        let verdicts: Vec<_> = results.iter().map(|r| streak.count(*r, 1, 3)).collect();
        assert_eq!(verdicts, [None, None, Some(true), None, None, Some(false)]);
    }
}
