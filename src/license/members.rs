//! A JSON object whose repeated members are seen rather than lost.
//!
//! RFC 7515 section 4 and RFC 7519 section 4 let a reader refuse repeated names or take the last; two readers that
//! choose differently read two licenses. `serde_json::Map` alone would take the last.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The members of one JSON object.
pub(crate) struct Members {
    /// Name and value; of a repeated name the first value.
    pub(crate) map: Map<String, Value>,
    /// The first name met twice, escapes decoded.
    pub(crate) duplicate: Option<String>,
}

impl Members {
    /// Reads exactly one JSON object in UTF-8 and nothing after it; `None` for anything else.
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        // From a `str`: reading bytes, serde_json does not check the UTF-8 of strings it skips.
        std::str::from_utf8(json).ok().and_then(|text| serde_json::from_str(text).ok())
    }

    /// The member `name` when it is a string; the error when it is something else.
    pub(crate) fn string(&self, name: &str) -> Result<Option<&str>, NotAString> {
        self.map.get(name).map(|value| value.as_str().ok_or(NotAString)).transpose()
    }
}

/// A member that should have been a string.
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
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if !members.map.contains_key(&name) {
                members.map.insert(name, value);
            } else if members.duplicate.is_none() {
                members.duplicate = Some(name);
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_seen_even_when_spelled_with_escapes() {
        let duplicate = |json: &str| Members::parse(json.as_bytes()).and_then(|it| it.duplicate);
        assert_eq!(duplicate(r#"{"a":1,"b":{"c":1,"c":2}}"#), None);
        assert_eq!(duplicate(r#"{"a":1,"a":1}"#).as_deref(), Some("a"));
        assert_eq!(duplicate(r#"{"sub":1,"s\u0075b":2}"#).as_deref(), Some("sub"));
    }

    #[test]
    fn only_one_whole_object_is_read() {
        for json in
            ["", "[]", "1", "null", "{", "{} {}", "{}x", r#"{"a":1,}"#, "\u{feff}{}", "{'a':1}"]
        {
            assert!(Members::parse(json.as_bytes()).is_none(), "{json}");
        }
        assert!(Members::parse(b"{\"a\":\"\xff\"}").is_none());
        assert!(Members::parse(format!("{{\"a\":{}", "[".repeat(9000)).as_bytes()).is_none());
        assert!(Members::parse(b" {\"a\":1}\n").is_some());
    }
}
