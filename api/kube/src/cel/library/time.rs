//! Durations and timestamps.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::eval::Evaluation;
use super::super::value::Value;
use super::{Answer, EvalError, failed};
use crate::custom::go_duration;

pub(super) fn convert(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let answer = match (function, values) {
        ("duration", [Value::Text(text)]) => go_duration(text)
            .map(Value::Duration)
            .ok_or_else(|| failed(format!("time: invalid duration {text:?}"))),
        ("duration", [Value::Duration(n)]) => Ok(Value::Duration(*n)),
        ("timestamp", [Value::Text(text)]) => text
            .parse()
            .map(Value::Timestamp)
            .map_err(|_| failed(format!("cannot parse {text:?} as timestamp"))),
        ("timestamp", [Value::Timestamp(t)]) => Ok(Value::Timestamp(*t)),
        ("timestamp", [Value::Int(n)]) => Timestamp::from_second(*n)
            .map(Value::Timestamp)
            .map_err(|_| failed("timestamp overflow")),
        ("string", [Value::Duration(n)]) => Ok(Value::from(duration_text(*n))),
        ("string", [Value::Timestamp(t)]) => Ok(Value::from(t.to_string())),
        _ => return None,
    };
    Some(cx.spend(1).and(answer))
}

/// Seconds, as the language prints durations.
#[expect(clippy::cast_precision_loss, reason = "printed with as many digits as a double has")]
pub(super) fn duration_text(nanoseconds: i64) -> String {
    format!("{}s", crate::custom::go_float(nanoseconds as f64 / 1e9))
}

pub(super) fn member(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let answer = match values {
        [Value::Duration(n)] => Ok(Value::Int(match function {
            "getHours" => n / 3_600_000_000_000,
            "getMinutes" => n / 60_000_000_000,
            "getSeconds" => n / 1_000_000_000,
            "getMilliseconds" => n / 1_000_000,
            _ => return None,
        })),
        [Value::Timestamp(t)] => part(function, *t, "UTC")?,
        [Value::Timestamp(t), Value::Text(zone)] => part(function, *t, zone)?,
        _ => return None,
    };
    Some(cx.spend(1).and(answer))
}

fn part(function: &str, time: Timestamp, zone: &str) -> Option<Result<Value, EvalError>> {
    let offset = || {
        let (sign, rest) = match zone.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, zone.strip_prefix('+').unwrap_or(zone)),
        };
        let (hours, minutes) = rest.split_once(':')?;
        let seconds = (hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?) * 60;
        jiff::tz::Offset::from_seconds(sign * seconds).ok().map(TimeZone::fixed)
    };
    let Some(zone) = offset().or_else(|| TimeZone::get(zone).ok()) else {
        return Some(Err(failed(format!("unknown time zone {zone}"))));
    };
    let at = time.to_zoned(zone);
    let number = match function {
        "getFullYear" => i64::from(at.year()),
        "getMonth" => i64::from(at.month()) - 1,
        "getDate" => i64::from(at.day()),
        "getDayOfMonth" => i64::from(at.day()) - 1,
        "getDayOfWeek" => i64::from(at.weekday().to_sunday_zero_offset()),
        "getDayOfYear" => i64::from(at.day_of_year()) - 1,
        "getHours" => i64::from(at.hour()),
        "getMinutes" => i64::from(at.minute()),
        "getSeconds" => i64::from(at.second()),
        "getMilliseconds" => i64::from(at.millisecond()),
        _ => return None,
    };
    Some(Ok(Value::Int(number)))
}
