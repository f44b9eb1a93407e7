//! The formats of texts that schemas may ask for.
// upstream: kube-openapi, pkg/validation/strfmt

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;

use crate::validation::names;

type Check = fn(&str) -> bool;

/// Names without dashes, sorted.
const FORMATS: &[(&str, Check)] = &[
    ("bsonobjectid", |t| t.len() == 24 && t.bytes().all(|b| b.is_ascii_hexdigit())),
    ("byte", is_base64),
    ("cidr", |t| t.parse::<ipnet::IpNet>().is_ok() && t.contains('/')),
    ("creditcard", |t| CREDIT_CARD.is_match(&digits(t))),
    ("date", |t| t.len() == 10 && t.parse::<jiff::civil::Date>().is_ok()),
    ("datetime", is_date_time),
    ("duration", is_duration),
    ("email", is_email),
    ("hexcolor", |t| HEX_COLOR.is_match(t)),
    ("hostname", is_hostname),
    ("ipv4", |t| t.parse::<Ipv4Addr>().is_ok()),
    ("ipv6", |t| t.parse::<Ipv6Addr>().is_ok()),
    ("isbn", |t| is_isbn10(t) || is_isbn13(t)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("k8slongname", |t| names::subdomain(t).is_empty()),
    ("k8sshortname", |t| names::label(t).is_empty()),
    ("mac", is_mac),
    ("password", |_| true),
    ("rgbcolor", |t| RGB_COLOR.is_match(t)),
    ("ssn", |t| SSN.is_match(t)),
    ("uri", is_uri),
    ("uuid", |t| uuid(t, |_, _| true)),
    ("uuid3", |t| uuid(t, |version, _| version == '3')),
    ("uuid4", |t| uuid(t, |version, variant| version == '4' && "89ab".contains(variant))),
    ("uuid5", |t| uuid(t, |version, variant| version == '5' && "89ab".contains(variant))),
];

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($text).expect("a constant that compiles"));
    };
}

pattern!(
    CREDIT_CARD,
    r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$"
);
pattern!(HEX_COLOR, "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
pattern!(
    RGB_COLOR,
    r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$"
);
pattern!(SSN, r"^\d{3}[- ]?\d{2}[- ]?\d{4}$");
pattern!(
    HOSTNAME,
    r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$"
);
pattern!(SCALA_DURATION, r"((\d+)\s*([A-Za-zµ]+))");

/// Whether texts of this format are checked; others are taken as they are.
pub(crate) fn is_known(format: &str) -> bool {
    find(format).is_some()
}

/// Whether a text has the format; unknown formats hold for every text.
pub(crate) fn holds(format: &str, text: &str) -> bool {
    find(format).is_none_or(|check| check(text))
}

fn find(format: &str) -> Option<Check> {
    let name = format.replace('-', "");
    FORMATS.binary_search_by(|(known, _)| (*known).cmp(&name)).ok().map(|at| FORMATS[at].1)
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn is_base64(text: &str) -> bool {
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

/// RFC 3339, seconds and offset included.
pub(crate) fn is_date_time(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some((date, time)) = upper.split_once('T') else { return false };
    if date.len() != 10 || time.len() < 9 || date.parse::<jiff::civil::Date>().is_err() {
        return false;
    }
    let part = |at: usize| time.get(at..at + 2).and_then(|p| p.parse::<u8>().ok());
    let colons = time.as_bytes()[2] == b':' && time.as_bytes()[5] == b':';
    let clock = matches!((part(0), part(3), part(6)), (Some(h), Some(m), Some(s)) if h < 24 && m < 60 && s < 60);
    let rest = &time[8..];
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    let offset = zone == "Z"
        || zone.len() == 6
            && matches!(zone.as_bytes()[0], b'+' | b'-')
            && zone.as_bytes()[3] == b':'
            && zone[1..3].parse::<u8>().is_ok()
            && zone[4..].parse::<u8>().is_ok();
    colons && clock && offset
}

/// Go's duration in nanoseconds: `1h30m`, `-1.5s`, `0`.
pub(crate) fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let nanoseconds: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let count: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(count.checked_mul(nanoseconds)?)?;
        let mut scale = nanoseconds;
        for digit in fraction.bytes() {
            scale /= 10;
            total += i128::from(digit - b'0') * scale;
        }
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn is_duration(text: &str) -> bool {
    const UNITS: &[&[&str]] = &[
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    go_duration(text).is_some()
        || SCALA_DURATION.captures_iter(text).any(|found| {
            let unit = found[3].to_lowercase();
            UNITS.iter().any(|names| {
                names.contains(&unit.as_str())
                    || names.last().is_some_and(|last| unit.starts_with(last))
            })
        })
}

fn is_email(text: &str) -> bool {
    let address = match text.rsplit_once('<') {
        Some((_, inner)) => inner.strip_suffix('>').unwrap_or_default(),
        None => text,
    };
    let Some((user, host)) = address.rsplit_once('@') else { return false };
    let plain = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let user_fine = user.starts_with('"') && user.ends_with('"') && user.len() > 2
        || !user.is_empty() && user.chars().all(plain) && !user.split('.').any(str::is_empty);
    user_fine && !host.is_empty() && host.split('.').all(|p| !p.is_empty() && p.chars().all(plain))
}

fn is_hostname(text: &str) -> bool {
    HOSTNAME.is_match(text)
        && text.len() <= 255
        && text.split('.').all(|part| (1..=63).contains(&part.len()))
}

fn is_isbn10(text: &str) -> bool {
    let plain = text.replace(['-', ' '], "");
    let bytes = plain.as_bytes();
    if bytes.len() != 10 || !bytes[..9].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let last = match bytes[9] {
        b'X' | b'x' => 10,
        digit if digit.is_ascii_digit() => u32::from(digit - b'0'),
        _ => return false,
    };
    let sum: u32 = (1u32..).zip(&bytes[..9]).map(|(at, b)| at * u32::from(b - b'0')).sum();
    (sum + 10 * last).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let plain = text.replace(['-', ' '], "");
    let bytes = plain.as_bytes();
    if bytes.len() != 13
        || !bytes.iter().all(u8::is_ascii_digit)
        || !(plain.starts_with("978") || plain.starts_with("979"))
    {
        return false;
    }
    let weighted = [1, 3].into_iter().cycle().zip(bytes);
    let sum: u32 = weighted.map(|(weight, b)| weight * u32::from(b - b'0')).sum();
    sum.is_multiple_of(10)
}

fn is_mac(text: &str) -> bool {
    let split = |by: char, width: usize| {
        let parts: Vec<&str> = text.split(by).collect();
        let bytes = parts.len() * width / 2;
        matches!(bytes, 6 | 8 | 20)
            && parts.iter().all(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    split(':', 2) || split('-', 2) || split('.', 4)
}

/// An absolute URI or an absolute path.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && !rest.is_empty()
}

fn uuid(text: &str, fits: fn(char, char) -> bool) -> bool {
    let mut rest = text;
    let mut all = String::new();
    for (at, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some(part) = rest.get(..length) else { return false };
        if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
            return false;
        }
        all.push_str(part);
        rest = &rest[length..];
    }
    let letter = |at: usize| char::from(all.as_bytes()[at]).to_ascii_lowercase();
    rest.is_empty() && fits(letter(12), letter(16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_sorted_and_judge() {
        assert!(FORMATS.is_sorted_by_key(|(name, _)| *name));
        for (format, good, bad) in [
            ("date-time", "2026-01-02T03:04:05.5Z", "2026-01-02"),
            ("date-time", "2026-01-02t03:04:05+01:00", "2026-13-02T03:04:05Z"),
            ("date", "2026-01-02", "2026-1-2"),
            ("duration", "1h30m", "abc"),
            ("duration", "22 ns", ""),
            ("byte", "YWJj", "a"),
            ("ipv4", "10.0.0.1", "::1"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("uuid", "C56A4180-65AA-42EC-A945-5FD21DEC0538", "c56a4180"),
            ("uuid4", "c56a418065aa42eca9455fd21dec0538", "c56a4180-65aa-12ec-a945-5fd21dec0538"),
            ("uri", "https://example.com/x", "example.com"),
            ("email", "a.b@example.com", "a.b"),
            ("hostname", "example.com", "-a-"),
            ("mac", "00:00:5e:00:53:01", "00:00:5e"),
            ("isbn", "978-0321751041", "978-0321751042"),
            ("hexcolor", "#FFF", "#FF"),
            ("k8s-short-name", "a-b", "A"),
        ] {
            assert!(holds(format, good), "{format} {good}");
            assert!(!holds(format, bad), "{format} {bad}");
        }
        assert!(holds("nothing-we-know", "x"));
    }
}
