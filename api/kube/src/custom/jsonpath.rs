//! JSONPath as printer columns use it: `.spec.x`, `.list[0].a`, `.conditions[?(@.type=="Ready")].status`.
// upstream: client-go, util/jsonpath

use serde_json::Value;

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// `*` or `[*]`.
    All,
    /// `..name`: the field at any depth.
    Deep(String),
    /// Items from, to and every so many.
    Range(Option<i64>, Option<i64>, i64),
    Index(i64),
    Filter(Filter),
}

/// `?(@.a=="b")`
#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Path,
    /// None: the left side is there.
    compared: Option<(String, Value)>,
}

/// A path, read once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Path(Vec<Step>);

impl Path {
    /// Reads a path. None: it is malformed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let text = text.strip_prefix(['$', '@']).unwrap_or(text);
        let chars: Vec<char> = text.chars().collect();
        let mut steps = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            match chars[at] {
                '.' if chars.get(at + 1) == Some(&'.') => {
                    let (name, next) = name_at(&chars, at + 2);
                    steps.push(Step::Deep(name));
                    at = next;
                }
                '.' => {
                    let (name, next) = name_at(&chars, at + 1);
                    match name.as_str() {
                        "" => {}
                        "*" => steps.push(Step::All),
                        _ => steps.push(Step::Field(name)),
                    }
                    at = next;
                }
                '[' => {
                    let end = closing(&chars, at)?;
                    let inner: String = chars[at + 1..end].iter().collect();
                    steps.push(bracket(inner.trim())?);
                    at = end + 1;
                }
                _ if at == 0 => {
                    let (name, next) = name_at(&chars, 0);
                    steps.push(Step::Field(name));
                    at = next;
                }
                _ => return None,
            }
        }
        Some(Path(steps))
    }

    /// Every value at the path.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.below(value)).collect();
        }
        found
    }
}

impl Step {
    fn below<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match (self, value) {
            (Step::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
            (Step::All, Value::Object(fields)) => fields.values().collect(),
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::Deep(name), _) => {
                let mut found = Vec::new();
                deep(value, name, &mut found);
                found
            }
            (Step::Index(at), Value::Array(items)) => {
                item(items, *at).and_then(|at| items.get(at)).into_iter().collect()
            }
            (Step::Range(from, to, by), Value::Array(items)) => {
                let start = from.and_then(|f| item(items, f)).unwrap_or(0);
                let end = to.map_or(items.len(), |t| item(items, t).unwrap_or(0));
                let by = usize::try_from(*by).unwrap_or(1).max(1);
                items.iter().take(end).skip(start).step_by(by).collect()
            }
            (Step::Filter(filter), Value::Array(items)) => {
                items.iter().filter(|item| filter.holds(item)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let left = self.left.find(item);
        let Some(left) = left.first() else { return false };
        let Some((operator, right)) = &self.compared else { return true };
        let ordering = match (left, right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) => (*a == b).then_some(std::cmp::Ordering::Equal),
        };
        match operator.as_str() {
            "==" => ordering.is_some_and(std::cmp::Ordering::is_eq),
            "!=" => !ordering.is_some_and(std::cmp::Ordering::is_eq),
            "<" => ordering.is_some_and(std::cmp::Ordering::is_lt),
            "<=" => ordering.is_some_and(std::cmp::Ordering::is_le),
            ">" => ordering.is_some_and(std::cmp::Ordering::is_gt),
            _ => ordering.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

fn item(items: &[Value], at: i64) -> Option<usize> {
    let length = i64::try_from(items.len()).ok()?;
    usize::try_from(if at < 0 { at + length } else { at }).ok()
}

fn deep<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(name));
            fields.values().for_each(|below| deep(below, name, found));
        }
        Value::Array(items) => items.iter().for_each(|below| deep(below, name, found)),
        _ => {}
    }
}

/// The name that begins here, and where it ends; a backslash keeps the next character.
fn name_at(chars: &[char], start: usize) -> (String, usize) {
    let mut name = String::new();
    let mut at = start;
    while let Some(c) = chars.get(at) {
        match c {
            '.' | '[' => break,
            '\\' if at + 1 < chars.len() => {
                at += 1;
                name.push(chars[at]);
            }
            c => name.push(*c),
        }
        at += 1;
    }
    (name, at)
}

/// Where the bracket that opens here closes.
fn closing(chars: &[char], open: usize) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in chars.iter().enumerate().skip(open) {
        match (quote, c) {
            (Some(q), c) if q == *c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(*c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        return filter_of(filter).map(Step::Filter);
    }
    if let Some(name) = quoted(inner) {
        return Some(Step::Field(name));
    }
    if inner.contains(':') {
        let parts: Vec<&str> = inner.split(':').collect();
        let number = |at: usize| parts.get(at).and_then(|p| p.trim().parse::<i64>().ok());
        return Some(Step::Range(number(0), number(1), number(2).unwrap_or(1)));
    }
    inner.parse().ok().map(Step::Index)
}

fn filter_of(text: &str) -> Option<Filter> {
    for operator in ["==", "!=", "<=", ">=", "<", ">"] {
        if let Some((left, right)) = text.split_once(operator) {
            let right = right.trim();
            let value = match quoted(right) {
                Some(text) => Value::String(text),
                None => serde_json::from_str(right).ok()?,
            };
            let left = Path::parse(left.trim())?;
            return Some(Filter { left, compared: Some((operator.to_owned(), value)) });
        }
    }
    Some(Filter { left: Path::parse(text.trim())?, compared: None })
}

fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text.strip_prefix(quote)?.strip_suffix(quote).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_what_columns_show() {
        let object = json!({"spec": {"a.b": 1, "list": [1, 2, 3], "m": {"x": "y"}},
            "status": {"conditions": [{"type": "Synced", "status": "False"},
                {"type": "Ready", "status": "True"}]}});
        for (path, wanted) in [
            (".spec.m.x", json!(["y"])),
            (".spec['a.b']", json!([1])),
            (r".spec.a\.b", json!([1])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([3])),
            (".spec.list[0:2]", json!([1, 2])),
            (".spec.list[*]", json!([1, 2, 3])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='None')].status", json!([])),
            ("..x", json!(["y"])),
            (".spec.none", json!([])),
        ] {
            let found = Path::parse(path).unwrap();
            assert_eq!(json!(found.find(&object)), wanted, "{path}");
        }
        assert!(Path::parse(".a[").is_none());
    }
}
