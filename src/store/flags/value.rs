//! What flags hold, read as Go's `flag` package and etcd's own types read it.

use std::time::Duration;

use super::table::{GATES, Kind};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A truth.
    Bool(bool),
    /// A whole number.
    Number(i128),
    /// A time in nanoseconds, which may be negative.
    Nanos(i64),
    /// URLs, sorted.
    Urls(Vec<Url>),
    /// Texts.
    List(Vec<String>),
    /// Gates that are set.
    Gates(Vec<(String, bool)>),
}

/// An address to listen on or to be found at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    /// http, https, unix or unixs.
    pub scheme: String,
    /// `host:port`, or a path.
    pub address: String,
}

impl Url {
    /// Whether TLS is spoken there.
    pub fn is_secure(&self) -> bool {
        self.scheme == "https" || self.scheme == "unixs"
    }

    /// Whether it is a socket in the file system.
    pub fn is_unix(&self) -> bool {
        self.scheme.starts_with("unix")
    }

    /// Host and port; `None`: it has not this form.
    pub fn host_and_port(&self) -> Option<(&str, &str)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return None;
        }
        Some((bare.unwrap_or(host), port))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.address)
    }
}

/// Reads a value; the error is the end of a sentence.
pub fn read(kind: Kind, text: &str) -> Result<Value, String> {
    let unparsed = || "parse error".to_owned();
    Ok(match kind {
        Kind::Text | Kind::Ignored => Value::Text(text.to_owned()),
        Kind::Choice(choices) if choices.contains(&text) => Value::Text(text.to_owned()),
        Kind::Choice(_) => return Err(format!("invalid value {text:?}")),
        Kind::Bool => Value::Bool(boolean(text).ok_or_else(unparsed)?),
        Kind::Uint => {
            let number = integer(text).ok_or_else(unparsed)?;
            if number < 0 {
                return Err(unparsed());
            }
            Value::Number(in_range(number, 0, i128::from(u64::MAX))?)
        }
        Kind::Uint32 => {
            let number = integer(text).filter(|number| *number >= 0);
            let invalid = || format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            let number = number.ok_or_else(invalid)?;
            let range = || format!("strconv.ParseUint: parsing {text:?}: value out of range");
            Value::Number(u32::try_from(number).map_err(|_| range())?.into())
        }
        Kind::Int => {
            let number = integer(text).ok_or_else(unparsed)?;
            Value::Number(in_range(number, i64::MIN.into(), i64::MAX.into())?)
        }
        Kind::Duration => Value::Nanos(duration(text).ok_or_else(unparsed)?),
        Kind::Urls if text.is_empty() => Value::Urls(Vec::new()),
        Kind::Urls => {
            let mut urls = text.split(',').map(url).collect::<Result<Vec<Url>, String>>()?;
            urls.sort();
            urls.dedup();
            Value::Urls(urls)
        }
        Kind::List => Value::List(
            text.split(',')
                .map(|one| one.trim().to_owned())
                .filter(|one| !one.is_empty())
                .collect(),
        ),
        Kind::Gates => Value::Gates(gates(text)?),
    })
}

fn in_range(number: i128, min: i128, max: i128) -> Result<i128, String> {
    if (min..=max).contains(&number) { Ok(number) } else { Err("value out of range".to_owned()) }
}

/// As Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// As Go reads a number in base 0.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let lower = digits.to_ascii_lowercase().replace('_', "");
    let number = if let Some(hex) = lower.strip_prefix("0x") {
        i128::from_str_radix(hex, 16)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        i128::from_str_radix(binary, 2)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        i128::from_str_radix(octal, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        i128::from_str_radix(&lower[1..], 8)
    } else {
        lower.parse()
    };
    number.ok().map(|number| if negative { -number } else { number })
}

/// As Go's `time.ParseDuration`, in nanoseconds.
pub fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("μs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 6e10),
            ("h", 3.6e12),
        ];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        nanos += number * factor;
    }
    if nanos > 9.2e18 {
        return None;
    }
    // Whole, and in range by the line above.
    #[allow(clippy::cast_possible_truncation)]
    let nanos = nanos.round() as i64;
    Some(if negative { -nanos } else { nanos })
}

/// One URL.
pub fn url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match scheme {
        "http" | "https" => {
            let (address, path) = match rest.find('/') {
                Some(end) => rest.split_at(end),
                None => (rest, ""),
            };
            let url = Url { scheme: scheme.to_owned(), address: address.to_owned() };
            if url.host_and_port().is_none() {
                return Err(format!("URL address does not have the form \"host:port\": {text}"));
            }
            if !path.is_empty() {
                return Err(format!("URL must not contain a path: {text}"));
            }
            Ok(url)
        }
        "unix" | "unixs" => Ok(Url { scheme: scheme.to_owned(), address: rest.to_owned() }),
        _ => Err(format!("URL scheme must be http, https, unix, or unixs: {text}")),
    }
}

fn gates(text: &str) -> Result<Vec<(String, bool)>, String> {
    let mut gates = Vec::new();
    for one in text.split(',').filter(|one| !one.is_empty()) {
        let Some((name, value)) = one.split_once('=') else {
            return Err(format!("missing bool value for {one}"));
        };
        let (name, value) = (name.trim(), value.trim());
        let value = boolean(value).ok_or_else(|| {
            format!(
                "invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: \
                 invalid syntax"
            )
        })?;
        let known = ["AllAlpha", "AllBeta"].contains(&name)
            || GATES.iter().any(|(gate, _, _)| *gate == name);
        if !known {
            return Err(format!("unrecognized feature gate: {name}"));
        }
        gates.push((name.to_owned(), value));
    }
    Ok(gates)
}

/// A time that is not negative.
pub fn to_duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        let of = |text| duration(text);
        assert_eq!(of("100ms"), Some(100_000_000));
        assert_eq!(of("2h0m0s"), Some(7_200_000_000_000));
        assert_eq!(of("1.5s"), Some(1_500_000_000));
        assert_eq!(of("-1m"), Some(-60_000_000_000));
        assert_eq!(of("0"), Some(0));
        assert_eq!((of(""), of("5"), of("x"), of("1d"), of("s")), (None, None, None, None, None));
    }

    #[test]
    fn values_are_read_or_refused_in_etcds_words() {
        let fails = |kind, text| read(kind, text).unwrap_err();
        assert_eq!(read(Kind::Uint, "0x10"), Ok(Value::Number(16)));
        assert_eq!(fails(Kind::Uint, "-1"), "parse error");
        assert_eq!(fails(Kind::Int, "99999999999999999999"), "value out of range");
        assert_eq!(fails(Kind::Bool, "yes"), "parse error");
        assert_eq!(fails(Kind::Choice(&["a"]), "not-yet"), "invalid value \"not-yet\"");
        assert_eq!(
            fails(Kind::Urls, "localhost:1"),
            "URL scheme must be http, https, unix, or unixs: localhost:1"
        );
        assert_eq!(
            fails(Kind::Urls, "http://localhost"),
            "URL address does not have the form \"host:port\": http://localhost"
        );
        assert_eq!(fails(Kind::Urls, "http://a:1/"), "URL must not contain a path: http://a:1/");
        assert_eq!(fails(Kind::Gates, "A=true"), "unrecognized feature gate: A");
        let urls = read(Kind::Urls, "http://b:1,http://a:1,http://a:1").unwrap();
        let Value::Urls(urls) = urls else { unreachable!() };
        assert_eq!(
            urls.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["http://a:1", "http://b:1"]
        );
        let v6 = Url { scheme: "http".into(), address: "[::1]:2379".into() };
        assert_eq!(v6.host_and_port(), Some(("::1", "2379")));
    }
}
