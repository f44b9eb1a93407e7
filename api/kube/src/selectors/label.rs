//! Label selectors: `a=b,c!=d,e in (f,g),h,!i,j>1`, and the structured form of objects' specs.

use std::collections::BTreeSet;

use serde_json::Value;

use super::SelectorError;
use super::words::{self, Word};
use crate::validation::names;

/// All requirements must hold; none means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// What one label must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub values: BTreeSet<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// One of the values.
    In,
    /// None of the values, or absent.
    NotIn,
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
    /// An integer above the value.
    GreaterThan,
    /// An integer below the value.
    LessThan,
}

impl LabelSelector {
    /// Reads the text of a query parameter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let words = words::split(text);
        let mut parser = Parser { words: &words, at: 0 };
        let mut requirements = parser.requirements()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements, nothing: false })
    }

    /// Reads a LabelSelector as objects have it (matchLabels, matchExpressions); null selects
    /// nothing, an empty one everything. Meant for selectors that were validated.
    pub fn from_value(selector: &Value) -> Self {
        let Some(fields) = selector.as_object() else {
            return LabelSelector { requirements: Vec::new(), nothing: true };
        };
        let mut made = Self::from_labels(fields.get("matchLabels").unwrap_or(&Value::Null));
        let expressions = fields.get("matchExpressions").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            let values = expression["values"].as_array().into_iter().flatten();
            made.requirements.push(Requirement {
                key: expression["key"].as_str().unwrap_or_default().to_owned(),
                operator: match expression["operator"].as_str() {
                    Some("NotIn") => Operator::NotIn,
                    Some("Exists") => Operator::Exists,
                    Some("DoesNotExist") => Operator::DoesNotExist,
                    _ => Operator::In,
                },
                values: values.filter_map(Value::as_str).map(str::to_owned).collect(),
            });
        }
        made
    }

    /// A map of labels that must all be there, as Services and ReplicationControllers have.
    pub fn from_labels(labels: &Value) -> Self {
        let entries = labels.as_object().into_iter().flatten();
        let requirements = entries
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: BTreeSet::from([value.as_str().unwrap_or_default().to_owned()]),
            })
            .collect();
        LabelSelector { requirements, nothing: false }
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// The requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether an object with these labels (metadata.labels, null when absent) is chosen.
    pub fn matches(&self, labels: &Value) -> bool {
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }

    /// The same, for labels kept in another form.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compares(value, |label, bound| label > bound),
            Operator::LessThan => self.compares(value, |label, bound| label < bound),
        }
    }

    fn compares(&self, value: Option<&str>, holds: impl Fn(i64, i64) -> bool) -> bool {
        let label = value.and_then(|v| v.parse::<i64>().ok());
        let bound = self.values.first().and_then(|v| v.parse::<i64>().ok());
        matches!((label, bound), (Some(label), Some(bound)) if holds(label, bound))
    }
}

struct Parser<'a> {
    words: &'a [Word],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Word {
        self.words.get(self.at).unwrap_or(&Word::End)
    }

    fn next(&mut self) -> Word {
        let word = self.peek().clone();
        self.at += 1;
        word
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut all = Vec::new();
        loop {
            match self.peek() {
                Word::End => return Ok(all),
                Word::Text(_) | Word::Not => {}
                other => {
                    return Err(expected(other, "!, identifier, or 'end of string'"));
                }
            }
            all.push(self.requirement()?);
            match self.next() {
                Word::End => return Ok(all),
                Word::Comma => match self.peek() {
                    Word::Text(_) | Word::Not => {}
                    other => return Err(expected(other, "identifier after ','")),
                },
                other => return Err(expected(&other, "',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let negated = matches!(self.peek(), Word::Not);
        if negated {
            self.at += 1;
        }
        let key = match self.next() {
            Word::Text(key) => key,
            other => return Err(expected(&other, "identifier")),
        };
        if let Some(why) = names::qualified(&key).into_iter().next() {
            return Err(SelectorError::Requirement(format!("key: Invalid value: {key:?}: {why}")));
        }
        let bare = matches!(self.peek(), Word::End | Word::Comma);
        let (operator, values) = match (negated, bare) {
            (true, true) => (Operator::DoesNotExist, BTreeSet::new()),
            (true, false) => return Err(expected(self.peek(), "',' or 'end of string'")),
            (false, true) => (Operator::Exists, BTreeSet::new()),
            (false, false) => self.comparison(&key)?,
        };
        Ok(Requirement { key, operator, values })
    }

    fn comparison(&mut self, key: &str) -> Result<(Operator, BTreeSet<String>), SelectorError> {
        let operator = match self.next() {
            Word::Equal | Word::DoubleEqual => Operator::In,
            Word::NotEqual => Operator::NotIn,
            Word::Greater => Operator::GreaterThan,
            Word::Less => Operator::LessThan,
            Word::Text(word) if word == "in" => return Ok((Operator::In, self.list(key)?)),
            Word::Text(word) if word == "notin" => return Ok((Operator::NotIn, self.list(key)?)),
            other => return Err(expected(&other, "in, notin, =, ==, !=, gt, lt")),
        };
        let value = match self.peek() {
            Word::End | Word::Comma => String::new(),
            Word::Text(_) => self.next().text().to_owned(),
            other => return Err(expected(other, "identifier")),
        };
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            if value.parse::<i64>().is_err() {
                return Err(SelectorError::Requirement(format!(
                    "values[0][{key}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the \
                     value must be an integer"
                )));
            }
        } else {
            check_value(key, &value)?;
        }
        Ok((operator, BTreeSet::from([value])))
    }

    fn list(&mut self, key: &str) -> Result<BTreeSet<String>, SelectorError> {
        match self.next() {
            Word::Open => {}
            other => return Err(expected(&other, "'('")),
        }
        let mut values = BTreeSet::new();
        let mut last = String::new();
        loop {
            match self.next() {
                Word::Text(value) => {
                    check_value(key, &value)?;
                    last = value;
                }
                Word::Comma => drop(values.insert(std::mem::take(&mut last))),
                Word::Close => {
                    values.insert(last);
                    return Ok(values);
                }
                other => return Err(expected(&other, "',', ')' or identifier")),
            }
        }
    }
}

fn expected(found: &Word, wanted: &str) -> SelectorError {
    SelectorError::Requirement(format!("found '{}', expected: {wanted}", found.text()))
}

fn check_value(key: &str, value: &str) -> Result<(), SelectorError> {
    match names::label_value(value).into_iter().next() {
        None => Ok(()),
        Some(why) => Err(SelectorError::Requirement(format!(
            "values[0][{key}]: Invalid value: {value:?}: {why}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selects(selector: &str, labels: Value) -> bool {
        LabelSelector::parse(selector).expect("a selector").matches(&labels)
    }

    #[test]
    fn operators() {
        let labels = json!({"app": "web", "tier": "front", "n": "5"});
        for yes in [
            "",
            "app=web",
            "app==web,tier=front",
            "app!=db",
            "missing!=x",
            "app in (web,db)",
            "app notin (db)",
            "missing notin (db)",
            "app",
            "!missing",
            "n>4",
            "n<6",
            " app = web , n ",
        ] {
            assert!(selects(yes, labels.clone()), "{yes}");
        }
        for no in ["app=db", "missing", "!app", "n>5", "app in (db)", "app=", "missing=x"] {
            assert!(!selects(no, labels.clone()), "{no}");
        }
        assert!(!selects("a", Value::Null));
    }

    #[test]
    fn what_is_no_selector() {
        for bad in ["a=b=c", ",", "a,", "a in b", "a in (b", "=b", "a>b", "-a=b", "!a=b", "a b"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            LabelSelector::parse("a=b=c").expect_err("an error").to_string(),
            "unable to parse requirement: found '=', expected: ',' or 'end of string'"
        );
    }

    #[test]
    fn the_structured_form_means_the_same() {
        let selector = LabelSelector::from_value(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front", "back"]}],
        }));
        assert!(selector.matches(&json!({"app": "web", "tier": "back"})));
        assert!(!selector.matches(&json!({"app": "web"})));
        assert!(!LabelSelector::from_value(&Value::Null).matches(&json!({})));
        assert!(LabelSelector::from_value(&json!({})).matches(&json!({})));
    }
}
