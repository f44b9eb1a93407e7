//! Numbers that may be given as a percentage of another.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a share that is not whole goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    Up,
    Down,
}

/// The number, or that percentage of `total`; 0 if absent or not a percentage.
pub(crate) fn resolve(value: Option<&IntOrString>, total: i32, round: Round) -> i32 {
    let percent = match value {
        None => return 0,
        Some(IntOrString::Int(number)) => return *number,
        Some(IntOrString::String(text)) => {
            text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0)
        }
    };
    let hundredths = percent * i64::from(total);
    let whole = match round {
        Round::Up => (hundredths + 99).div_euclid(100),
        Round::Down => hundredths.div_euclid(100),
    };
    i32::try_from(whole).unwrap_or(i32::MAX)
}
