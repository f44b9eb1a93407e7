//! Semantic versions: `semver("1.2.3").isGreaterThan(semver("1.0.0"))`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::eval::Evaluation;
use super::super::value::Value;
use super::{Answer, failed};

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Semver {
    numbers: [u64; 3],
    /// Parts of a pre-release; none for a release.
    pre: Vec<String>,
}

impl Semver {
    fn parse(text: &str, lenient: bool) -> Option<Self> {
        let mut text = text.to_owned();
        if lenient {
            text = text.strip_prefix('v').unwrap_or(&text).to_owned();
        }
        let (rest, build) = match text.split_once('+') {
            Some((rest, build)) => (rest.to_owned(), Some(build.to_owned())),
            None => (text, None),
        };
        let (core, pre) = match rest.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (rest.as_str(), None),
        };
        let word =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let pre: Vec<String> =
            pre.into_iter().flat_map(|p| p.split('.')).map(str::to_owned).collect();
        let padded =
            |w: &str| w.len() > 1 && w.starts_with('0') && w.bytes().all(|b| b.is_ascii_digit());
        if !pre.iter().all(|w| word(w) && !padded(w))
            || !build.iter().all(|b| b.split('.').all(word))
        {
            return None;
        }
        let mut parts: Vec<&str> = core.split('.').collect();
        if lenient {
            parts.resize(parts.len().max(3), "0");
        }
        let mut numbers = [0; 3];
        if parts.len() != 3 {
            return None;
        }
        for (number, part) in numbers.iter_mut().zip(parts) {
            let part = if lenient { part.trim_start_matches('0') } else { part };
            let part = if part.is_empty() && lenient { "0" } else { part };
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if !plain || part.len() > 1 && part.starts_with('0') {
                return None;
            }
            *number = part.parse().ok()?;
        }
        Some(Semver { numbers, pre })
    }

    /// Which comes first.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => {
                    let mut each = self.pre.iter().zip(&other.pre).map(|(a, b)| {
                        match (a.parse::<u64>(), b.parse::<u64>()) {
                            (Ok(a), Ok(b)) => a.cmp(&b),
                            (Ok(_), Err(_)) => Ordering::Less,
                            (Err(_), Ok(_)) => Ordering::Greater,
                            (Err(_), Err(_)) => a.cmp(b),
                        }
                    });
                    each.find(|o| o.is_ne()).unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
                }
            }
        })
    }
}

pub(super) fn call(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let (text, lenient) = match values {
        [Value::Text(text)] => (text, false),
        [Value::Text(text), Value::Bool(lenient)] => (text, *lenient),
        _ => return None,
    };
    let parsed = Semver::parse(text, lenient);
    let answer = match function {
        "semver" => parsed
            .map(|v| Value::Semver(Arc::new(v)))
            .ok_or_else(|| failed(format!("{text:?} is not a semantic version"))),
        "isSemver" => Ok(Value::Bool(parsed.is_some())),
        _ => return None,
    };
    Some(cx.traverse(text.len() as u64, 0.1).and(answer))
}

pub(super) fn member(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let number =
        |at: usize, v: &Semver| Value::Int(i64::try_from(v.numbers[at]).unwrap_or(i64::MAX));
    let answer = match (function, values) {
        ("major", [Value::Semver(v)]) => number(0, v),
        ("minor", [Value::Semver(v)]) => number(1, v),
        ("patch", [Value::Semver(v)]) => number(2, v),
        ("compareTo", [Value::Semver(a), Value::Semver(b)]) => Value::Int(a.order(b) as i64),
        ("isGreaterThan", [Value::Semver(a), Value::Semver(b)]) => Value::Bool(a.order(b).is_gt()),
        ("isLessThan", [Value::Semver(a), Value::Semver(b)]) => Value::Bool(a.order(b).is_lt()),
        _ => return None,
    };
    Some(cx.spend(1).map(|()| answer))
}
