//! Registry: finds points by name, and sets many at once.

use thiserror::Error;

use crate::point::Failpoint;
use crate::terms::BadTerms;

/// Why a point cannot be set, cleared or shown; texts are gofail's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SetError {
    /// There is no such point.
    #[error("failpoint: failpoint does not exist")]
    Unknown,
    /// It has no terms.
    #[error("failpoint: failpoint is disabled")]
    Disabled,
    /// The terms cannot be read.
    #[error(transparent)]
    Terms(#[from] BadTerms),
    /// Not of the form `name=terms`.
    #[error("bad failpoint {0:?}")]
    Form(String),
}

/// All points of a build.
pub struct Registry {
    points: &'static [&'static Failpoint],
}

impl Registry {
    /// Of these points, sorted by name.
    pub const fn new(points: &'static [&'static Failpoint]) -> Self {
        Self { points }
    }

    fn find(&self, name: &str) -> Result<&'static Failpoint, SetError> {
        self.points.iter().find(|point| point.name() == name).copied().ok_or(SetError::Unknown)
    }

    /// Gives a point its terms.
    pub fn set(&self, name: &str, terms: &str) -> Result<(), SetError> {
        Ok(self.find(name)?.set(terms)?)
    }

    /// Takes a point's terms away.
    pub fn clear(&self, name: &str) -> Result<(), SetError> {
        match self.find(name)?.clear() {
            true => Ok(()),
            false => Err(SetError::Disabled),
        }
    }

    /// A point's terms, and how often they were followed.
    pub fn status(&self, name: &str) -> Result<(String, u64), SetError> {
        self.find(name)?.status().ok_or(SetError::Disabled)
    }

    /// A line `name=terms` for each point.
    pub fn list(&self) -> String {
        let line = |point: &&Failpoint| {
            let terms = point.status().map(|(terms, _)| terms).unwrap_or_default();
            format!("{}={terms}\n", point.name())
        };
        self.points.iter().map(line).collect()
    }
}

/// `a=terms;b=terms` as pairs.
pub(crate) fn parse_many(text: &str) -> Result<Vec<(&str, &str)>, SetError> {
    let pair = |one| match str::split_once(one, '=') {
        Some((name, terms)) if !terms.contains('=') => Ok((name, terms)),
        _ => Err(SetError::Form(one.to_owned())),
    };
    text.split(';').filter(|one| !one.is_empty()).map(pair).collect()
}

impl Registry {
    /// Sets what the variable `GOFAIL_FAILPOINTS` holds: `a=terms;b=terms`. What cannot be set, for
    /// its name or its terms, is said and left out.
    pub fn set_many(&self, text: &str) -> Result<(), SetError> {
        for (name, terms) in parse_many(text)? {
            if let Err(error) = self.set(name, terms) {
                println!("failed to enable \"{name}={terms}\" ({error})");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static A: Failpoint = Failpoint::new("a");
    static B: Failpoint = Failpoint::new("b");
    static REGISTRY: Registry = Registry::new(&[&A, &B]);

    #[test]
    fn points_are_set_shown_and_cleared() {
        REGISTRY.set_many("a=off;;b=sleep(\"1s\");c=panic;").unwrap();
        assert_eq!(REGISTRY.list(), "a=off\nb=sleep(\"1s\")\n");
        assert_eq!(REGISTRY.set("a", "x"), Err(SetError::Terms(BadTerms)));
        assert_eq!(REGISTRY.status("a"), Ok(("off".to_owned(), 0)));
        assert_eq!(REGISTRY.clear("a"), Ok(()));
        assert_eq!(REGISTRY.clear("a"), Err(SetError::Disabled));
        assert_eq!(REGISTRY.status("a"), Err(SetError::Disabled));
        assert_eq!(REGISTRY.set("c", "off"), Err(SetError::Unknown));
        assert_eq!(REGISTRY.list(), "a=\nb=sleep(\"1s\")\n");
        let wrong = REGISTRY.set_many("a=off;b").unwrap_err();
        assert_eq!(wrong.to_string(), "bad failpoint \"b\"");
        assert_eq!(REGISTRY.clear("a"), Err(SetError::Disabled), "all or nothing of a bad list");
    }
}
