//! Terms: what a point does when it is reached, in gofail's language.
//!
//! `terms = term *( "->" term )`, `term = *( PERCENT "%" | COUNT "*" ) action [ "(" value ")" ]`.
//! The first term of the chain that its percentages and counts allow is the one that counts.

use std::time::Duration;

use thiserror::Error;

/// The terms cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("failpoint: could not parse terms")]
pub struct BadTerms;

/// What stands in the parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing.
    Unit,
    /// A whole number.
    Number(i64),
    /// Text in double quotes.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Off,
    Return(Value),
    Sleep(Value),
    Panic(Value),
    Print,
}

/// When it is done.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Condition {
    Percent(f64),
    /// How often it may still be done.
    Count(u64),
}

#[derive(Debug, Clone, PartialEq)]
struct Term {
    conditions: Vec<Condition>,
    action: Action,
}

/// A chain of terms with its counters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    chain: Vec<Term>,
    text: String,
    /// How often one of them was chosen.
    pub(crate) count: u64,
}

impl Terms {
    pub(crate) fn parse(text: &str) -> Result<Self, BadTerms> {
        let mut chain = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (term, after) = parse_term(rest)?;
            chain.push(term);
            rest = match after {
                "" => after,
                _ => after.strip_prefix("->").ok_or(BadTerms)?,
            };
        }
        match chain.is_empty() {
            true => Err(BadTerms),
            false => Ok(Self { chain, text: text.to_owned(), count: 0 }),
        }
    }

    /// As they were written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What is to be done now; `draw` draws a number from 0 to 1.
    pub(crate) fn next(&mut self, mut draw: impl FnMut() -> f64) -> Option<Action> {
        let allowed = |term: &mut Term| term.is_allowed(&mut draw).then(|| term.action.clone());
        let action = self.chain.iter_mut().find_map(allowed)?;
        self.count += 1;
        Some(action)
    }
}

impl Term {
    fn is_allowed(&mut self, draw: &mut impl FnMut() -> f64) -> bool {
        self.conditions.iter_mut().all(|condition| match condition {
            Condition::Percent(percent) => draw() * 100.0 <= *percent,
            Condition::Count(0) => false,
            Condition::Count(left) => {
                *left -= 1;
                true
            }
        })
    }
}

fn parse_term(text: &str) -> Result<(Term, &str), BadTerms> {
    let (conditions, rest) = parse_conditions(text)?;
    let named = |name: &str| rest.strip_prefix(name).map(parse_value);
    let (action, rest) = if let Some(parsed) = named("off") {
        (Action::Off, parsed?.1)
    } else if let Some(parsed) = named("return") {
        let (value, rest) = parsed?;
        (Action::Return(value), rest)
    } else if let Some(parsed) = named("sleep") {
        let (value, rest) = parsed?;
        (Action::Sleep(value), rest)
    } else if let Some(parsed) = named("panic") {
        let (value, rest) = parsed?;
        (Action::Panic(value), rest)
    } else if let Some(parsed) = named("print") {
        (Action::Print, parsed?.1)
    } else {
        return Err(BadTerms);
    };
    Ok((Term { conditions, action }, rest))
}

fn parse_conditions(mut text: &str) -> Result<(Vec<Condition>, &str), BadTerms> {
    let mut conditions = Vec::new();
    while text.starts_with(|first: char| first.is_ascii_digit()) {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(BadTerms)?;
        let (number, rest) = text.split_at(end);
        let (condition, rest) = if let Some(rest) = rest.strip_prefix('%') {
            (Condition::Percent(number.parse().map_err(|_| BadTerms)?), rest)
        } else {
            let rest = rest.strip_prefix('*').ok_or(BadTerms)?;
            (Condition::Count(number.parse().map_err(|_| BadTerms)?), rest)
        };
        conditions.push(condition);
        text = rest;
    }
    Ok((conditions, text))
}

fn parse_value(text: &str) -> Result<(Value, &str), BadTerms> {
    let Some(inner) = text.strip_prefix('(') else { return Ok((Value::Unit, text)) };
    if let Some(quoted) = inner.strip_prefix('"') {
        let (value, rest) = parse_quoted(quoted)?;
        return Ok((Value::Text(value), rest.strip_prefix(')').ok_or(BadTerms)?));
    }
    let (inner, rest) = inner.split_once(')').ok_or(BadTerms)?;
    let value = match inner {
        "" => Value::Unit,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        number => Value::Number(number.parse().map_err(|_| BadTerms)?),
    };
    Ok((value, rest))
}

/// Up to the closing quote.
fn parse_quoted(text: &str) -> Result<(String, &str), BadTerms> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, next)) = chars.next() {
        match next {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some((_, same @ ('\\' | '"'))) => same,
                _ => return Err(BadTerms),
            }),
            plain => value.push(plain),
        }
    }
    Err(BadTerms)
}

/// How long to sleep: milliseconds, or text such as `1m30s`.
pub(crate) fn pause(value: &Value) -> Option<Duration> {
    let text = match value {
        Value::Number(milliseconds) => {
            return Some(Duration::from_millis(u64::try_from(*milliseconds).unwrap_or(0)));
        }
        Value::Text(text) => text,
        Value::Unit | Value::Bool(_) => return None,
    };
    let (mut rest, mut total) = (text.as_str(), Duration::ZERO);
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let amount = number.parse::<f64>().ok()? * seconds;
        total += Duration::try_from_secs_f64(amount).ok()?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[Option<Action>]) {
        let mut terms = Terms::parse(text).unwrap();
        let did: Vec<Option<Action>> = expected.iter().map(|_| terms.next(|| 0.45)).collect();
        assert_eq!(did, expected, "{text}");
        assert_eq!(terms.text(), text);
        assert_eq!(terms.count, expected.iter().flatten().count() as u64, "{text}");
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn each_action_with_and_without_a_value() {
        check("off", &[Some(Action::Off), Some(Action::Off)]);
        check("print", &[Some(Action::Print)]);
        check("panic", &[Some(Action::Panic(Value::Unit))]);
        check("panic(\"why\")", &[Some(Action::Panic(text("why")))]);
        check("return", &[Some(Action::Return(Value::Unit))]);
        check("return()", &[Some(Action::Return(Value::Unit))]);
        check("return(-7)", &[Some(Action::Return(Value::Number(-7)))]);
        check("return(true)", &[Some(Action::Return(Value::Bool(true)))]);
        check(r#"return("a \"b\" -> c")"#, &[Some(Action::Return(text("a \"b\" -> c")))]);
        check("sleep(10)", &[Some(Action::Sleep(Value::Number(10)))]);
        check("sleep(\"1s\")", &[Some(Action::Sleep(text("1s")))]);
    }

    #[test]
    fn counts_percentages_and_chains() {
        let panic = || Some(Action::Panic(Value::Unit));
        let number = |number| Some(Action::Return(Value::Number(number)));
        check("2*panic", &[panic(), panic(), None]);
        check("0*panic", &[None]);
        check("2*return(1)->1*return(2)", &[number(1), number(1), number(2), None]);
        check("1*off->panic", &[Some(Action::Off), panic(), panic()]);
        check("50%panic", &[panic()]);
        check("50.0%panic", &[panic()]);
        check("40%panic->print", &[Some(Action::Print)]);
        // The count is used up only where the percentage before it allows.
        check("40%1*panic", &[None, None]);
        check("50%1*panic", &[panic(), None]);
        check("panic->", &[panic()]);
    }

    #[test]
    fn what_is_no_term_is_refused() {
        for wrong in [
            "",
            "x",
            "panics",
            "panic off",
            "panic-",
            "5",
            "5*",
            "1.5*panic",
            "%panic",
            "panic(",
            "panic(x)",
            "return(\"x)",
            "return(\"x\"",
            "->panic",
            "sleep(1s)",
            "break",
        ] {
            assert_eq!(Terms::parse(wrong), Err(BadTerms), "{wrong}");
        }
    }

    #[test]
    fn pauses() {
        let check = |value: Value, expected| assert_eq!(pause(&value), expected, "{value:?}");
        check(Value::Number(15), Some(Duration::from_millis(15)));
        check(text("15ms"), Some(Duration::from_millis(15)));
        check(text("1m1.5s"), Some(Duration::from_millis(61_500)));
        check(text("3"), None);
        check(text(""), None);
        check(text("3 s"), None);
        check(Value::Unit, None);
    }
}
