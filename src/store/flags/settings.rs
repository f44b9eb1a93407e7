//! All flags' values together, and which were given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::table::{FLAGS, Flag, GATES, Named, find};
use super::value::{self, Url, Value};

/// Something to say once the log is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whether somebody should look.
    pub warns: bool,
    /// What is said.
    pub message: String,
    /// A name and its value.
    pub field: Option<(&'static str, String)>,
}

/// The values of all flags.
#[derive(Debug, Clone)]
pub struct Settings {
    values: BTreeMap<&'static str, Value>,
    given: BTreeSet<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        let read = |flag: &Flag| value::read(flag.kind, flag.default).expect("defaults are valid");
        let values = FLAGS.iter().map(|flag| (flag.name, read(flag))).collect();
        Self { values, given: BTreeSet::new() }
    }
}

impl Settings {
    /// Sets what `name` stands for; `None`: nothing does.
    pub fn set(&mut self, name: &str, text: &str) -> Option<Result<(), String>> {
        match find(name)? {
            Named::Flag(flag) => Some(value::read(flag.kind, text).map(|value| {
                self.given.insert(flag.name);
                self.values.insert(flag.name, value);
            })),
            Named::Gate(gate) => self.set("feature-gates", &self.with_gate(gate, text)),
        }
    }

    /// The gates that are set, and one more.
    fn with_gate(&self, gate: &str, text: &str) -> String {
        let mut all = String::new();
        if let Some(Value::Gates(gates)) = self.values.get("feature-gates") {
            gates.iter().for_each(|(name, on)| all.push_str(&format!("{name}={on},")));
        }
        all + &format!("{gate}={text}")
    }

    /// Whether a flag was given a value.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains(name)
    }

    /// The flags that were given a value.
    pub fn given(&self) -> impl Iterator<Item = &'static Flag> {
        FLAGS.iter().filter(|flag| self.given.contains(flag.name))
    }

    fn value(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or_else(|| unreachable!("no flag is named {name}"))
    }

    /// A text.
    pub fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            other => unreachable!("{name} is no text: {other:?}"),
        }
    }

    /// A text that is there.
    pub fn path(&self, name: &str) -> Option<std::path::PathBuf> {
        let text = self.text(name);
        (!text.is_empty()).then(|| text.into())
    }

    /// A truth.
    pub fn is_on(&self, name: &str) -> bool {
        *self.value(name) == Value::Bool(true)
    }

    /// A number, at most as large as fits.
    pub fn number<T: TryFrom<i128>>(&self, name: &str, max: T) -> T {
        match self.value(name) {
            Value::Number(number) => T::try_from(*number).unwrap_or(max),
            other => unreachable!("{name} is no number: {other:?}"),
        }
    }

    /// A time; what is negative is nothing.
    pub fn duration(&self, name: &str) -> Duration {
        match self.value(name) {
            Value::Nanos(nanos) => value::to_duration(*nanos),
            other => unreachable!("{name} is no time: {other:?}"),
        }
    }

    /// URLs.
    pub fn urls(&self, name: &str) -> &[Url] {
        match self.value(name) {
            Value::Urls(urls) => urls,
            other => unreachable!("{name} is no URLs: {other:?}"),
        }
    }

    /// Texts.
    pub fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::List(list) => list,
            other => unreachable!("{name} is no list: {other:?}"),
        }
    }

    /// Whether a feature is on.
    pub fn gate(&self, name: &str) -> bool {
        let Some((_, default, is_beta)) = GATES.iter().find(|(gate, _, _)| *gate == name) else {
            return false;
        };
        let all = if *is_beta { "AllBeta" } else { "AllAlpha" };
        let Value::Gates(gates) = self.value("feature-gates") else { return *default };
        let set = |name: &str| gates.iter().rev().find(|(gate, _)| gate == name).map(|(_, on)| *on);
        set(name).or_else(|| set(all)).unwrap_or(*default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_have_defaults_groups_and_old_names() {
        let mut settings = Settings::default();
        assert!(settings.gate("FastLeaseKeepAlive") && !settings.gate("LeaseCheckpoint"));
        settings.set("feature-gates", "AllAlpha=true,PriorityRequest=false").unwrap().unwrap();
        assert!(settings.gate("LeaseCheckpoint") && !settings.gate("PriorityRequest"));
        settings.set("experimental-initial-corrupt-check", "false").unwrap().unwrap();
        assert!(!settings.gate("InitialCorruptCheck") && settings.gate("LeaseCheckpoint"));
        assert!(settings.set("nobody", "x").is_none());
    }
}
