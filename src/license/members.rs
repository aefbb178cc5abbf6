//! A JSON object that detects repeated members.
//!
//! RFC 7515 section 4 and RFC 7519 section 4 allow a reader to refuse repeated names or to take the last: two readers could
//! read two different licenses. `serde_json::Map` alone takes the last.
//!
//! A whole number is read as an integer in any JSON notation: issuers in Java, Lua and JavaScript write `1796014403.0` and
//! `1.796014403E9`. The decimal digits decide, not a rounded `f64`, so that a fraction is never read as a whole number.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::text::trimmed_bytes;

/// The members of one JSON object.
pub(crate) struct Members {
    /// Names and values; for a repeated name the first value.
    pub(crate) map: Map<String, Value>,
    /// The first repeated name, with escapes decoded.
    pub(crate) duplicate: Option<String>,
}

impl Members {
    /// Parses exactly one JSON object in UTF-8; `None` for anything else.
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        // From a `str`: from bytes, serde_json does not check the UTF-8 of strings that it skips.
        std::str::from_utf8(json).ok().and_then(|text| serde_json::from_str(text).ok())
    }

    /// As [`parse`](Self::parse), for a whole document: white space and a byte order mark around it are not part of it.
    pub(crate) fn of_document(json: &[u8]) -> Option<Self> {
        Self::parse(trimmed_bytes(json))
    }

    /// The member `name` if it is a string; an error if it has another type.
    pub(crate) fn string(&self, name: &str) -> Result<Option<&str>, NotAString> {
        self.map.get(name).map(|value| value.as_str().ok_or(NotAString)).transpose()
    }
}

/// A member is not a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotAString;

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Collect)
    }
}

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Members;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
        let mut members = Members { map: Map::new(), duplicate: None };
        while let Some((name, raw)) = access.next_entry::<String, &RawValue>()? {
            let value = value_of(raw).map_err(A::Error::custom)?;
            if !members.map.contains_key(&name) {
                members.map.insert(name, value);
            } else if members.duplicate.is_none() {
                members.duplicate = Some(name);
            }
        }
        Ok(members)
    }
}

/// The value of `raw`. Whole numbers become integers, also in a list.
fn value_of(raw: &RawValue) -> serde_json::Result<Value> {
    let text = raw.get();
    match text.as_bytes() {
        [b'[', ..] => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            items
                .into_iter()
                .map(|item| whole(item).map_or_else(|| serde_json::from_str(item.get()), Ok))
                .collect()
        }
        _ => whole(raw).map_or_else(|| serde_json::from_str(text), Ok),
    }
}

/// The integer that `raw` writes with a fraction or an exponent (RFC 8259 section 6); `None` if it is another kind of value,
/// not an integer, or beyond 64 bits.
fn whole(raw: &RawValue) -> Option<Value> {
    /// Digits of the largest 64-bit number.
    const MOST_DIGITS: usize = 20;
    let text = raw.get();
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{integer}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0.into());
    }
    let significant = digits.trim_end_matches('0');
    let ends = digits.len() - significant.len();
    let exponent: i64 = exponent.parse().ok()?;
    let zeros = exponent
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(i64::try_from(ends).ok()?)?;
    let zeros = usize::try_from(zeros).ok().filter(|zeros| *zeros <= MOST_DIGITS)?;
    let written = format!("{sign}{significant}{}", "0".repeat(zeros));
    let small = written.parse::<i64>().map(Value::from);
    small.or_else(|_| written.parse::<u64>().map(Value::from)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repeated_names_are_detected_also_with_escapes() {
        let duplicate = |json: &str| Members::parse(json.as_bytes()).and_then(|it| it.duplicate);
        assert_eq!(duplicate(r#"{"a":1,"b":{"c":1,"c":2}}"#), None);
        assert_eq!(duplicate(r#"{"a":1,"a":1}"#).as_deref(), Some("a"));
        assert_eq!(duplicate(r#"{"sub":1,"s\u0075b":2}"#).as_deref(), Some("sub"));
    }

    #[test]
    fn only_exactly_one_object_is_parsed() {
        for json in
            ["", "[]", "1", "null", "{", "{} {}", "{}x", r#"{"a":1,}"#, "\u{feff}{}", "{'a':1}"]
        {
            assert!(Members::parse(json.as_bytes()).is_none(), "{json}");
        }
        assert!(Members::parse(b"{\"a\":\"\xff\"}").is_none());
        assert!(Members::parse(format!("{{\"a\":{}", "[".repeat(9000)).as_bytes()).is_none());
        assert!(Members::parse(b" {\"a\":1}\n").is_some());
        assert!(Members::of_document("\u{feff} {\"a\":1}\r\n\u{feff}".as_bytes()).is_some());
    }

    fn read(number: &str) -> Value {
        let json = format!(r#"{{"a":{number},"b":[{number}]}}"#);
        let map = Members::parse(json.as_bytes()).expect(number).map;
        assert_eq!(map["b"], Value::from(vec![map["a"].clone()]), "{number}");
        map["a"].clone()
    }

    #[test]
    fn whole_numbers_are_integers_in_any_notation() {
        for number in
            ["1796014403", "1796014403.0", "1.796014403E9", "1796014403000e-3", "179601440.3e+1"]
        {
            assert_eq!(read(number).as_u64(), Some(1_796_014_403), "{number}");
        }
        for number in ["0", "-0", "0.0", "0e5", "-0.000e-999999999999999999999999"] {
            assert_eq!(read(number).as_u64(), Some(0), "{number}");
        }
        assert_eq!(read("18446744073709551615.0").as_u64(), Some(u64::MAX));
        assert_eq!(read("-9223372036854775808.0").as_i64(), Some(i64::MIN));
        assert_eq!(read("-3e0").as_i64(), Some(-3));
    }

    #[test]
    fn a_fraction_is_not_rounded_to_an_integer() {
        let fractions = [
            "1.5",
            "1796014403.00000000000000001",
            "9007199254740993.1",
            "1e-1",
            "123e-2",
            "1e25",
            "18446744073709551616.0",
        ];
        for number in fractions {
            let value = read(number);
            assert!(
                value.is_f64() && value.as_i64().is_none() && value.as_u64().is_none(),
                "{number}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_number_shifted_by_an_exponent_is_the_same_number(number: i64, shift in 0..19_usize) {
            let (sign, digits) = (if number < 0 { "-" } else { "" }, number.unsigned_abs().to_string());
            let padded = format!("{}{digits}", "0".repeat(20_usize.saturating_sub(digits.len())));
            let (integer, fraction) = padded.split_at(padded.len() - shift);
            let integer = integer.trim_start_matches('0');
            let integer = if integer.is_empty() { "0" } else { integer };
            let text = match fraction {
                "" => format!("{sign}{integer}"),
                fraction => format!("{sign}{integer}.{fraction}e{shift}"),
            };
            prop_assert_eq!(read(&text).as_i64(), Some(number), "{}", text);
        }
    }
}
