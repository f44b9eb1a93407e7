//! Kubernetes quantities, exact to a billionth.
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

const NANO: i128 = 1_000_000_000;

/// A parsed quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity {
    nano: i128,
}

impl Quantity {
    /// Reads `100m`, `1.5`, `128Mi`, `1e3`; none when it is not a quantity.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text
            .char_indices()
            .find(|(i, c)| {
                !(c.is_ascii_digit() || *c == '.' || (*i == 0 && matches!(c, '+' | '-')))
            })
            .map_or(text.len(), |(i, _)| i);
        let (number, suffix) = text.split_at(end);
        let (numerator, denominator) = multiplier(suffix)?;
        let (negative, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction = &fraction[..fraction.len().min(9)];
        let mut parts: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        for _ in fraction.len()..9 {
            parts *= 10;
        }
        let nano = whole.checked_mul(NANO)?.checked_add(parts)?.checked_mul(numerator)?;
        let nano = nano.div_euclid(denominator) + i128::from(nano.rem_euclid(denominator) != 0);
        Some(Self { nano: if negative { -nano } else { nano } })
    }

    /// Parses what the API server let through; what it should not have is zero.
    pub(crate) fn of(quantity: &ApiQuantity) -> Self {
        Self::parse(&quantity.0).unwrap_or_default()
    }

    /// The value in thousandths, rounded up.
    pub(crate) fn milli(self) -> i64 {
        ceil(self.nano, 1_000_000)
    }

    /// The value in whole units, rounded up.
    pub(crate) fn value(self) -> i64 {
        ceil(self.nano, NANO)
    }

    /// How often `divisor` goes into this, rounded up.
    pub(crate) fn divided_by(self, divisor: Self) -> i64 {
        if divisor.nano == 0 { self.value() } else { ceil(self.nano, divisor.nano) }
    }
}

fn ceil(value: i128, unit: i128) -> i64 {
    let quotient = value.div_euclid(unit) + i128::from(value.rem_euclid(unit) != 0);
    i64::try_from(quotient).unwrap_or(i64::MAX)
}

fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    let binary = |shift: u32| Some((1_i128 << shift, 1));
    let decimal = |power: u32| Some((10_i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10_i128.checked_pow(power.unsigned_abs())?;
            Some(if power < 0 { (1, size) } else { (size, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        let check = |text: &str, milli: i64, value: i64| {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!((quantity.milli(), quantity.value()), (milli, value), "{text}");
        };
        check("100m", 100, 1);
        check("1.5", 1500, 2);
        check("128Mi", 134_217_728_000, 134_217_728);
        check("1e3", 1_000_000, 1000);
        check("2k", 2_000_000, 2000);
        check("0.1", 100, 1);
        check("1500u", 2, 1);
        assert_eq!(Quantity::parse("x"), None);
        assert_eq!(Quantity::parse(""), None);
    }

    #[test]
    fn divisors_round_up() {
        let quantity = |text| Quantity::parse(text).unwrap();
        assert_eq!(quantity("1500m").divided_by(quantity("1")), 2);
        assert_eq!(quantity("64Mi").divided_by(quantity("1Mi")), 64);
        assert_eq!(quantity("1500m").divided_by(quantity("1m")), 1500);
    }
}
