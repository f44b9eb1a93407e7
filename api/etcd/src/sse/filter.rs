//! Which changes a client wants: by the end of the key, and by fields of values that are JSON.

use keelson_proto::mvccpb::Event;
use keelson_proto::mvccpb::event::EventType;
use serde_json::Value;

/// What a client wants; by default everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// One of these ends the key; without any, all do.
    pub(super) suffixes: Vec<Vec<u8>>,
    /// All of these hold of the value.
    pub(super) fields: Vec<Field>,
}

/// What is to hold of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    path: Vec<String>,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    There,
    Missing,
    Is(String),
    IsNot(String),
}

/// What a filter says of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not sent.
    Out,
    /// It is.
    In,
    /// It is, and the value that is there now is one that is wanted, or is none.
    Selected(bool),
}

impl Filter {
    /// Whether the key is wanted, whatever the value.
    pub(super) fn takes_key(&self, key: &[u8]) -> bool {
        self.suffixes.is_empty() || self.suffixes.iter().any(|suffix| key.ends_with(suffix))
    }

    /// Whether values are looked at: then the one before is needed, too.
    pub(super) fn reads_values(&self) -> bool {
        !self.fields.is_empty()
    }

    /// A change is sent where the value is one that is wanted, and where it was one: so that a client
    /// sees a key leave. Where nobody knows any more what was there before, it is sent.
    pub(super) fn verdict(&self, event: &Event) -> Verdict {
        if !self.reads_values() {
            return Verdict::In;
        }
        let kv = event.kv.as_ref();
        let is_set = event.r#type() == EventType::Put;
        let now = is_set && kv.is_some_and(|kv| self.takes_value(&kv.value));
        let is_new = is_set && kv.is_some_and(|kv| kv.create_revision == kv.mod_revision);
        let before = match &event.prev_kv {
            Some(before) => self.takes_value(&before.value),
            None => !is_new,
        };
        if now || before { Verdict::Selected(now) } else { Verdict::Out }
    }

    fn takes_value(&self, value: &[u8]) -> bool {
        let Ok(value) = serde_json::from_slice::<Value>(value) else { return false };
        self.fields.iter().all(|field| field.holds(&value))
    }
}

impl Field {
    /// `a.b=x`, `a.b!=x`, `a.b`, `!a.b`; the path may be a JSON pointer (`/a/b`), and has `\.` where a
    /// name has a dot.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (path, wanted) = match text.split_once('=') {
            Some((path, value)) => match path.strip_suffix('!') {
                Some(path) => (path, Wanted::IsNot(value.to_owned())),
                None => (path, Wanted::Is(value.to_owned())),
            },
            None => match text.strip_prefix('!') {
                Some(path) => (path, Wanted::Missing),
                None => (text, Wanted::There),
            },
        };
        Some(Self { path: names(path)?, wanted })
    }

    fn holds(&self, value: &Value) -> bool {
        let found = self.path.iter().try_fold(value, |value, name| match value {
            Value::Object(members) => members.get(name),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        });
        match &self.wanted {
            Wanted::There => found.is_some(),
            Wanted::Missing => found.is_none(),
            Wanted::Is(wanted) => found.is_some_and(|found| is(found, wanted)),
            Wanted::IsNot(other) => !found.is_some_and(|found| is(found, other)),
        }
    }
}

/// Texts are compared as they are, all else as JSON writes it.
fn is(found: &Value, wanted: &str) -> bool {
    match found {
        Value::String(text) => text == wanted,
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let text = found.to_string();
            text == wanted
        }
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn names(path: &str) -> Option<Vec<String>> {
    if let Some(pointer) = path.strip_prefix('/') {
        let name = |name: &str| name.replace("~1", "/").replace("~0", "~");
        return Some(pointer.split('/').map(name).collect());
    }
    let mut names = vec![String::new()];
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '.' => names.push(String::new()),
            '\\' => names.last_mut()?.push(letters.next()?),
            letter => names.last_mut()?.push(letter),
        }
    }
    names.iter().all(|name| !name.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use keelson_proto::mvccpb::KeyValue;

    use super::*;

    const POD: &str = r#"{"metadata":{"labels":{"app.kubernetes.io/name":"web"}},
        "spec":{"nodeName":"n1","replicas":3,"paused":false},"list":[{"a":1}]}"#;

    #[test]
    fn fields_are_found_by_their_path() {
        let pod: Value = serde_json::from_str(POD).unwrap();
        for (field, expected) in [
            ("spec.nodeName=n1", true),
            ("spec.nodeName=n2", false),
            ("spec.nodeName!=n2", true),
            ("spec.nodeName!=n1", false),
            ("spec.other!=n1", true),
            ("spec.replicas=3", true),
            ("spec.paused=false", true),
            ("spec", true),
            ("!spec", false),
            ("!spec.other", true),
            ("spec=x", false),
            ("list.0.a=1", true),
            ("list.1.a", false),
            (r"metadata.labels.app\.kubernetes\.io/name=web", true),
            ("/metadata/labels/app.kubernetes.io~1name=web", true),
            ("spec.nodeName.more", false),
        ] {
            assert_eq!(Field::parse(field).unwrap().holds(&pod), expected, "{field}");
        }
        for text in ["", "=x", "!", "a..b", ".a", "a.", "a\\"] {
            assert_eq!(Field::parse(text), None, "{text:?}");
        }
    }

    fn event(now: Option<&str>, before: Option<&str>, is_new: bool) -> Event {
        let kv = |value: &str| KeyValue {
            value: value.to_owned().into(),
            create_revision: if is_new { 7 } else { 5 },
            mod_revision: 7,
            ..KeyValue::default()
        };
        let mut event = Event { kv: Some(kv(now.unwrap_or_default())), ..Event::default() };
        if now.is_none() {
            event.set_type(EventType::Delete);
        }
        event.prev_kv = before.map(kv);
        event
    }

    #[test]
    fn a_key_is_seen_to_come_and_to_leave() {
        let filter = Filter { fields: vec![Field::parse("on=n1").unwrap()], ..Filter::default() };
        let (here, there) = (Some(r#"{"on":"n1"}"#), Some(r#"{"on":"n2"}"#));
        for (now, before, is_new, expected) in [
            (here, None, true, Verdict::Selected(true)),
            (there, None, true, Verdict::Out),
            (here, there, false, Verdict::Selected(true)),
            (there, here, false, Verdict::Selected(false)),
            (there, there, false, Verdict::Out),
            (None, here, false, Verdict::Selected(false)),
            (None, there, false, Verdict::Out),
            // Compacted away: nobody knows.
            (None, None, false, Verdict::Selected(false)),
            (there, None, false, Verdict::Selected(false)),
            (Some("no JSON"), None, true, Verdict::Out),
        ] {
            assert_eq!(filter.verdict(&event(now, before, is_new)), expected, "{now:?} {before:?}");
        }
        assert_eq!(Filter::default().verdict(&event(None, None, false)), Verdict::In);
    }
}
