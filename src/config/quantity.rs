//! Parses durations, sizes and numbers.

use std::time::Duration;

use super::fault::Fault;
use super::value::Value;

/// A longer duration is a mistake, and adding it to a time might overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// A duration with its unit: `10s`, `5m`, `7d`, `1h 30m`. Zero is allowed.
pub(super) fn duration(value: &Value) -> Result<Duration, Fault> {
    if let Some(digits) = value.digits() {
        return Err(unitless(value, digits));
    }
    let text = value.text()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unitless(value, text));
    }
    // The error of the parser lists names of units that only few people use.
    let duration = humantime::parse_duration(text).map_err(|_| {
        value.fault(format!(
            "{text:?} is not a duration such as \"10s\": use the units ms, s, m, h or d"
        ))
    })?;
    if duration > LONGEST {
        return Err(value.fault(format!("{text:?} is longer than 36500d")));
    }
    Ok(duration)
}

fn unitless(value: &Value, digits: &str) -> Fault {
    value.fault(format!("a duration needs a unit: write \"{digits}s\" for seconds"))
}

/// A duration of whole seconds. Zero is allowed.
pub(super) fn whole_seconds(value: &Value) -> Result<Duration, Fault> {
    match duration(value)? {
        duration if duration.subsec_nanos() == 0 => Ok(duration),
        _ => Err(value.fault("must be whole seconds")),
    }
}

/// A duration that is not zero: a deadline of zero would end everything at once.
pub(super) fn deadline(value: &Value) -> Result<Duration, Fault> {
    match duration(value)? {
        Duration::ZERO => Err(value.fault("must be longer than 0s")),
        duration => Ok(duration),
    }
}

/// A duration of at least `least`; zero turns the setting off.
pub(super) fn interval(value: &Value, least: Duration) -> Result<Duration, Fault> {
    match duration(value)? {
        short if !short.is_zero() && short < least => {
            let least = humantime::format_duration(least);
            Err(value
                .fault(format!("is too short: write at least \"{least}\", or \"0s\" for never")))
        }
        duration => Ok(duration),
    }
}

/// A size from `least` to `most` bytes: a plain number of bytes, or `64KiB`, `1MiB`, `2GiB`.
pub(super) fn size(value: &Value, least: usize, most: usize) -> Result<usize, Fault> {
    let written = match value.digits() {
        Some(digits) => digits,
        None => value.text()?.trim(),
    };
    let bytes = bytes(written).ok_or_else(|| {
        value.fault(format!("{written:?} is not a size such as \"64KiB\", \"1MiB\" or 65536"))
    })?;
    if !(least..=most).contains(&bytes) {
        let (least, most) = (show_size(least), show_size(most));
        return Err(value.fault(format!("{written} is not between {least} and {most}")));
    }
    Ok(bytes)
}

fn bytes(written: &str) -> Option<usize> {
    let end = written.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(written.len());
    let (digits, unit) = written.split_at(end);
    let factor: usize = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(factor)
}

/// The format that [`size`] reads, in the largest unit that is exact.
pub(super) fn show_size(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// A count from `least` to `most`.
pub(super) fn count(value: &Value, least: u32, most: u32) -> Result<u32, Fault> {
    let number = value.number(least.into(), most.into())?;
    Ok(u32::try_from(number).unwrap_or(most))
}

/// [`count`] as `usize`.
pub(super) fn amount(value: &Value, least: u32, most: u32) -> Result<usize, Fault> {
    count(value, least, most).map(|number| number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fault::Origin;
    use crate::config::value::Kind;

    fn written(text: &str) -> Value {
        Value { key: "k".into(), origin: Origin::Default, kind: Kind::Text(text.into()) }
    }

    #[test]
    fn durations() {
        let good = [
            ("10s", 10),
            ("5m", 300),
            ("7d", 604_800),
            ("0s", 0),
            ("1h 30m", 5400),
            ("1.5h", 5400),
        ];
        for (text, seconds) in good {
            assert_eq!(duration(&written(text)).ok(), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "0", "s", "-1s", "10 parsecs", "99999999999d", "36501d"] {
            assert!(duration(&written(text)).is_err(), "{text}");
        }
        let fault = duration(&written("15")).expect_err("no unit");
        assert!(fault.to_string().contains("needs a unit: write \"15s\""), "{fault}");
        assert!(deadline(&written("0s")).is_err());
    }

    #[test]
    fn sizes() {
        let good =
            [("64KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("8192", 8192), ("9 B", 9)];
        for (text, expected) in good {
            assert_eq!(size(&written(text), 1, usize::MAX).ok(), Some(expected), "{text}");
        }
        for text in ["", "KiB", "-1", "64kb", "1.5MiB", "99999999999999999999", "99999999999GiB"] {
            assert!(size(&written(text), 0, usize::MAX).is_err(), "{text}");
        }
        for bytes in [0, 1, 1023, 1024, 65536, 1 << 20, (1 << 20) + 1, 3 << 30] {
            assert_eq!(size(&written(&show_size(bytes)), 0, usize::MAX).ok(), Some(bytes));
        }
    }
}
