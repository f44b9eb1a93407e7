//! What a client asks for in the address, and what is wrong with that.

use std::time::Duration;

use bytes::Bytes;
use keelson_client::prefix_end;
use thiserror::Error;

use super::filter::{Field, Filter};
use super::id::EventId;

/// A sign of life is sent so often.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// It may be asked for between these.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;
/// Filters of one kind.
const FILTERS_MAX: usize = 32;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) key: Bytes,
    pub(super) range_end: Bytes,
    pub(super) start: Start,
    pub(super) prev_kv: bool,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    pub(super) filter: Filter,
    pub(super) heartbeat: Duration,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// With the next change.
    Now,
    /// With the oldest that is kept.
    Oldest,
    /// With those of a revision.
    At(i64),
    /// With the first that a client does not have.
    After(EventId),
}

/// Why it cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum QueryError {
    /// No such thing can be asked for.
    #[error(
        "unknown parameter {0:?}: there are prefix, key, from, after, prev_kv, type, suffix, field, \
         heartbeat"
    )]
    Unknown(String),
    /// Only one is taken.
    #[error("{0} is given more than once")]
    Twice(&'static str),
    /// What to watch is not said.
    #[error("one of prefix and key is needed; prefix= is every key")]
    NoKeys,
    /// A value that cannot be taken.
    #[error("{name}={value:?}: {wanted} is wanted")]
    Bad {
        /// Of what.
        name: &'static str,
        /// The value.
        value: String,
        /// What would do.
        wanted: &'static str,
    },
    /// More than anybody needs.
    #[error("there are more than {FILTERS_MAX} of {0}")]
    TooMany(&'static str),
}

/// All that was given, once each where only one is taken.
#[derive(Default)]
struct Given {
    prefix: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    from: Option<Start>,
    after: Option<EventId>,
    prev_kv: Option<bool>,
    /// Whether only keys that are set are wanted, or only such that are deleted.
    only_put: Option<bool>,
    heartbeat: Option<Duration>,
    filter: Filter,
}

impl Query {
    /// What the address asks for; an id in the headers counts more than one there.
    pub(super) fn parse(query: &str, last_event_id: Option<&[u8]>) -> Result<Self, QueryError> {
        let mut given = Given::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            given.add(&text(&decoded(name)), decoded(value))?;
        }
        let (key, range_end) = match (given.prefix, given.key) {
            (Some(prefix), None) if prefix.is_empty() => {
                (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
            }
            (Some(prefix), None) => {
                let end = prefix_end(&prefix);
                (prefix.into(), end)
            }
            (None, Some(key)) if !key.is_empty() => (key.into(), Bytes::new()),
            (None, None) | (None, Some(_)) => return Err(QueryError::NoKeys),
            (Some(_), Some(_)) => return Err(QueryError::Twice("what to watch (prefix, key)")),
        };
        let last = match last_event_id {
            None | Some(b"") => given.after,
            Some(last) => Some(id("Last-Event-ID", last)?),
        };
        Ok(Self {
            key,
            range_end,
            start: last.map(Start::After).or(given.from).unwrap_or(Start::Now),
            prev_kv: given.prev_kv.unwrap_or(false),
            no_put: given.only_put == Some(false),
            no_delete: given.only_put == Some(true),
            filter: given.filter,
            heartbeat: given.heartbeat.unwrap_or(HEARTBEAT),
        })
    }
}

impl Given {
    fn add(&mut self, name: &str, value: Vec<u8>) -> Result<(), QueryError> {
        match name {
            "prefix" => once(&mut self.prefix, "prefix", value),
            "key" => once(&mut self.key, "key", value),
            "from" => once(&mut self.from, "from", from(&value)?),
            "after" => once(&mut self.after, "after", id("after", &value)?),
            "prev_kv" => once(
                &mut self.prev_kv,
                "prev_kv",
                match &value[..] {
                    b"true" | b"" => true,
                    b"false" => false,
                    _ => return Err(bad("prev_kv", &value, "true or false")),
                },
            ),
            "type" => once(
                &mut self.only_put,
                "type",
                match &value[..] {
                    b"put" => true,
                    b"delete" => false,
                    _ => return Err(bad("type", &value, "put or delete")),
                },
            ),
            "heartbeat" => once(&mut self.heartbeat, "heartbeat", heartbeat(&value)?),
            "suffix" => many(&mut self.filter.suffixes, "suffix", value),
            "field" => {
                let wanted = "PATH, !PATH, PATH=VALUE or PATH!=VALUE, in UTF-8";
                let field = std::str::from_utf8(&value).ok().and_then(Field::parse);
                let field = field.ok_or_else(|| bad("field", &value, wanted))?;
                many(&mut self.filter.fields, "field", field)
            }
            name => Err(QueryError::Unknown(name.to_owned())),
        }
    }
}

fn once<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), QueryError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(QueryError::Twice(name)),
    }
}

fn many<T>(place: &mut Vec<T>, name: &'static str, value: T) -> Result<(), QueryError> {
    if place.len() == FILTERS_MAX {
        return Err(QueryError::TooMany(name));
    }
    place.push(value);
    Ok(())
}

fn from(value: &[u8]) -> Result<Start, QueryError> {
    if value == b"oldest" {
        return Ok(Start::Oldest);
    }
    let revision = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    match revision {
        Some(revision) if revision > 0 => Ok(Start::At(revision)),
        _ => Err(bad("from", value, "a revision from 1 on, or oldest")),
    }
}

fn id(name: &'static str, value: &[u8]) -> Result<EventId, QueryError> {
    let id = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    id.ok_or_else(|| bad(name, value, "the id of an event, such as 12 or 12.0,"))
}

fn heartbeat(value: &[u8]) -> Result<Duration, QueryError> {
    let seconds = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    match seconds {
        Some(seconds) if HEARTBEAT_SECONDS.contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(bad("heartbeat", value, "a number of seconds from 1 to 300")),
    }
}

fn bad(name: &'static str, value: &[u8], wanted: &'static str) -> QueryError {
    QueryError::Bad { name, value: text(value), wanted }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// As forms are sent: `+` for a space, `%` before two digits for any byte.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let byte = match first {
            b'+' => b' ',
            b'%' => {
                let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
                match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                    Some(byte) => {
                        rest = &after[2..];
                        byte
                    }
                    None => b'%',
                }
            }
            other => *other,
        };
        bytes.push(byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood() {
        let query =
            Query::parse("prefix=a%2F+%ff&from=oldest&prev_kv=true&type=put", None).unwrap();
        assert_eq!(query.key, &b"a/ \xff"[..]);
        assert_eq!(query.range_end, "a/!");
        assert_eq!(query.start, Start::Oldest);
        assert!(query.prev_kv && query.no_delete && !query.no_put);
        let query = Query::parse("key=k&from=7", None).unwrap();
        assert_eq!((query.range_end.len(), query.start), (0, Start::At(7)));
        let id = EventId { revision: 9, change: Some(2) };
        for (query, header) in
            [("prefix=&from=7&after=9.2", None), ("prefix=&after=3", Some(&b"9.2"[..]))]
        {
            let query = Query::parse(query, header).unwrap();
            assert_eq!(query.start, Start::After(id));
            assert_eq!((&query.key[..], &query.range_end[..]), (&b"\0"[..], &b"\0"[..]));
        }
        let query = Query::parse("prefix=a&suffix=x&suffix=y&field=a.b%3Dc&heartbeat=1", None);
        let filter = query.unwrap().filter;
        assert_eq!((filter.suffixes.len(), filter.fields.len()), (2, 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, words) in [
            ("", "one of prefix and key is needed"),
            ("key=", "one of prefix and key is needed"),
            ("prefix=a&key=b", "more than once"),
            ("prefix=a&prefix=b", "prefix is given more than once"),
            ("prefix=a&form=3", "unknown parameter \"form\""),
            ("prefix=a&from=0", "from=\"0\": a revision from 1 on"),
            ("prefix=a&from=x", "from=\"x\""),
            ("prefix=a&after=1.x", "after=\"1.x\": the id of an event"),
            ("prefix=a&prev_kv=yes", "true or false"),
            ("prefix=a&type=get", "put or delete"),
            ("prefix=a&field=%3Dx", "field=\"=x\": PATH"),
            ("prefix=a&heartbeat=0", "from 1 to 300"),
        ] {
            let error = Query::parse(query, None).unwrap_err().to_string();
            assert!(error.contains(words), "{query}: {error}");
        }
        let error = Query::parse("prefix=a", Some(b"x")).unwrap_err().to_string();
        assert!(error.contains("Last-Event-ID=\"x\""), "{error}");
        let many = format!("prefix=a{}", "&suffix=x".repeat(33));
        assert_eq!(Query::parse(&many, None), Err(QueryError::TooMany("suffix")));
    }
}
