//! Reads Kubernetes quantities (`100m`, `1.5Gi`, `2e3`) as whole numbers of a unit, rounded up.

/// The quantity in thousandths, rounded up: `0.1` is 100, `1m` is 1.
pub(crate) fn milli(text: &str) -> Option<i64> {
    scaled(text, 3)
}

/// The quantity in whole units, rounded up: `1Ki` is 1024, `100m` is 1.
pub(crate) fn whole(text: &str) -> Option<i64> {
    scaled(text, 0)
}

/// The quantity times ten to the `places`, rounded up, saturating; none if it does not parse.
fn scaled(text: &str, places: i32) -> Option<i64> {
    let digits_end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(digits_end);
    let (negative, number) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit.checked_sub(b'0')?))?;
    }
    let (binary, decimal) = suffix_powers(suffix)?;
    let exponent = decimal + places - i32::try_from(fraction.len()).ok()?;
    let mut value = mantissa.checked_mul(1 << binary)?;
    if exponent >= 0 {
        value = value.saturating_mul(10_i128.checked_pow(exponent.unsigned_abs())?);
    } else {
        let divisor = 10_i128.checked_pow(exponent.unsigned_abs())?;
        // Away from zero, as upstream rounds.
        value = (value + divisor - 1) / divisor;
    }
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    Some(if negative { -value } else { value })
}

/// Powers of two and of ten that a suffix stands for.
fn suffix_powers(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => (0, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::{milli, whole};

    #[test]
    fn reads_all_notations() {
        for (text, wanted) in [
            ("100m", Some(100)),
            ("0.1", Some(100)),
            ("2", Some(2000)),
            ("1e3", Some(1_000_000)),
            ("500u", Some(1)),
            ("-1", Some(-1000)),
            ("", None),
            ("1x", None),
            ("m", None),
        ] {
            assert_eq!(milli(text), wanted, "{text}");
        }
        for (text, wanted) in [
            ("1Ki", Some(1024)),
            ("1.5Gi", Some(1_610_612_736)),
            ("128974848", Some(128_974_848)),
            ("129e6", Some(129_000_000)),
            ("129M", Some(129_000_000)),
            ("128974848000m", Some(128_974_848)),
            ("100m", Some(1)),
            ("16Ei", Some(i64::MAX)),
        ] {
            assert_eq!(whole(text), wanted, "{text}");
        }
    }
}
