//! Quantities such as `500m` or `1Gi`: exact, canonical as Kubernetes prints them.
// upstream: Kubernetes apimachinery, pkg/api/resource

use std::cmp::Ordering;
use std::fmt;

/// A fixed-point amount: `value` × 10^`scale`, remembered with its family of suffixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    value: i128,
    /// Never below `NANO`.
    scale: i32,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the right shape.
    #[error("{}", Quantity::WRONG_FORMAT)]
    Format,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// More digits than an amount may have.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
}

const NANO: i32 = -9;
/// Amounts are capped at 2^63 - 1, as upstream.
const VALUE_MAX: i128 = i64::MAX as i128;
/// Beyond these digits every amount is capped or lost in rounding.
const DIGITS_MAX: usize = 30;

impl Quantity {
    /// What upstream says of a malformed quantity.
    pub const WRONG_FORMAT: &str = "quantities must match the regular expression \
                                    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

    /// Reads an amount.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            None => return Err(QuantityError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let empty = whole.is_empty() && fraction.is_empty();
        let odd = |b: u8| !b.is_ascii_alphanumeric() && !matches!(b, b'+' | b'-');
        if empty || fraction.contains('.') || suffix.bytes().any(odd) {
            return Err(QuantityError::Format);
        }
        let (format, factor, exponent) = suffix_of(suffix)?;
        let digits = format!("{}{fraction}", whole.trim_start_matches('0'));
        let kept = digits.len().min(DIGITS_MAX);
        let count = |n: usize| i32::try_from(n).map_err(|_| QuantityError::Numeric);
        let scale = exponent - count(fraction.len())? + count(digits.len() - kept)?;
        let value: i128 = match &digits[..kept] {
            "" => 0,
            digits => digits.parse().map_err(|_| QuantityError::Numeric)?,
        };
        let mut made = Quantity { value: value.saturating_mul(factor), scale, format };
        made = made.round_up_to(NANO).capped();
        if negative {
            made.value = -made.value;
        }
        Ok(made)
    }

    /// The amount in thousandths, rounded up; saturates.
    pub fn milli(&self) -> i128 {
        let rounded = self.round_up_to(-3);
        rounded.value.saturating_mul(power_of_ten(rounded.scale + 3))
    }

    /// The amount in whole units, rounded up; saturates.
    pub fn units(&self) -> i128 {
        let rounded = self.round_up_to(0);
        rounded.value.saturating_mul(power_of_ten(rounded.scale))
    }

    /// Whether the amount is less than, equal to or greater than another.
    pub fn compare(&self, other: &Quantity) -> Ordering {
        let low = self.scale.min(other.scale);
        let at = |q: &Quantity| q.value.saturating_mul(power_of_ten(q.scale - low));
        at(self).cmp(&at(other))
    }

    /// The sum, printed as this amount is.
    #[must_use]
    pub fn plus(&self, other: &Quantity) -> Self {
        let scale = self.scale.min(other.scale);
        let at = |q: &Quantity| q.value.saturating_mul(power_of_ten(q.scale - scale));
        Quantity { value: at(self).saturating_add(at(other)), scale, format: self.format }
    }

    /// Whether the amount is below zero.
    pub fn is_negative(&self) -> bool {
        self.value < 0
    }

    /// Whether the amount is a whole number.
    pub fn is_whole(&self) -> bool {
        self.round_up_to(0).compare(self).is_eq()
    }

    /// The next amount of whole thousandths, as lists of resources hold.
    #[must_use]
    pub fn round_up_to_milli(&self) -> Self {
        self.round_up_to(-3)
    }

    fn round_up_to(&self, scale: i32) -> Self {
        if self.scale >= scale {
            return *self;
        }
        let divisor = power_of_ten(scale - self.scale);
        let mut value = self.value / divisor;
        if self.value % divisor != 0 {
            value += self.value.signum(); // away from zero
        }
        Quantity { value, scale, format: self.format }
    }

    fn capped(self) -> Self {
        let over = if self.scale >= 0 {
            self.value.saturating_mul(power_of_ten(self.scale)) > VALUE_MAX
        } else {
            self.value / power_of_ten(-self.scale) > VALUE_MAX
        };
        if over { Quantity { value: VALUE_MAX, scale: 0, format: self.format } } else { self }
    }

    /// The amount, if it is whole.
    fn whole(&self) -> Option<i128> {
        if self.scale >= 0 {
            return Some(self.value.saturating_mul(power_of_ten(self.scale)));
        }
        let divisor = power_of_ten(-self.scale);
        (self.value % divisor == 0).then(|| self.value / divisor)
    }
}

fn power_of_ten(exponent: i32) -> i128 {
    u32::try_from(exponent).ok().and_then(|e| 10i128.checked_pow(e)).unwrap_or(i128::MAX)
}

fn suffix_of(suffix: &str) -> Result<(Format, i128, i32), QuantityError> {
    const DECIMAL: [(&str, i32); 10] = [
        ("", 0),
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((Format::Decimal, 1, *exponent));
    }
    if let Some(power) = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|s| *s == suffix) {
        return Ok((Format::Binary, 1024i128.pow(u32::try_from(power).unwrap_or(0) + 1), 0));
    }
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let exponent: i32 = digits.parse().map_err(|_| QuantityError::Suffix)?;
    Ok((Format::Exponent, 1, exponent.clamp(-30, 30)))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value == 0 {
            return f.write_str("0");
        }
        if self.format == Format::Binary
            && let Some(whole) = self.whole().filter(|w| w.abs() >= 1024)
        {
            return write_binary(f, whole);
        }
        let (mut value, mut scale) = (self.value, self.scale);
        while value % 10 == 0 {
            value /= 10;
            scale += 1;
        }
        while scale.rem_euclid(3) != 0 {
            value *= 10;
            scale -= 1;
        }
        let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let suffix = usize::try_from((scale - NANO) / 3).ok().and_then(|at| suffixes.get(at));
        match suffix {
            Some(suffix) if self.format != Format::Exponent => write!(f, "{value}{suffix}"),
            _ if scale == 0 => write!(f, "{value}"),
            _ => write!(f, "{value}e{scale}"),
        }
    }
}

fn write_binary(f: &mut fmt::Formatter<'_>, mut value: i128) -> fmt::Result {
    let mut suffix = "";
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
        if value % 1024 != 0 {
            break;
        }
        value /= 1024;
        suffix = next;
    }
    write!(f, "{value}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (given, wanted) in [
            ("1000m", "1"),
            ("0.5Gi", "512Mi"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("100Mi", "100Mi"),
            ("1.5Gi", "1536Mi"),
            ("0", "0"),
            ("0.0", "0"),
            ("1e3", "1e3"),
            ("-5m", "-5m"),
            ("128974848", "128974848"),
            ("512Ki", "512Ki"),
            ("0.1Ki", "102400m"),
            ("+3", "3"),
            (".5", "500m"),
            ("5.", "5"),
        ] {
            let parsed = Quantity::parse(given).unwrap_or_else(|e| panic!("{given}: {e}"));
            assert_eq!(parsed.to_string(), wanted, "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity() {
        for given in ["", "a", "1x", "--1", "1.1.1", "1 Gi", "Gi", "1KI"] {
            assert!(Quantity::parse(given).is_err(), "{given}");
        }
    }

    #[test]
    fn amounts_compare_across_suffixes() {
        let q = |t: &str| Quantity::parse(t).expect("a quantity");
        assert!(q("1").compare(&q("1000m")).is_eq());
        assert!(q("1Gi").compare(&q("1G")).is_gt());
        assert_eq!(q("250m").milli(), 250);
        assert_eq!(q("1.0001").milli(), 1001);
        assert_eq!(q("1Mi").units(), 1_048_576);
        assert_eq!(q("1n").round_up_to_milli().to_string(), "1m");
    }
}
