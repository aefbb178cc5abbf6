//! Parses `Forwarded` (RFC 7239) from right to left: what a trusted hop has appended comes before what it has received.
//!
//! From the left, an unclosed quote of a client would swallow the elements after it. From the right, each element ends at the comma
//! that its hop has written. Parses in place; only a value with an escape is copied.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;

use crate::message::Fields;

/// The elements of all lines, last first, without empty ones.
pub(super) fn from_the_right(headers: &Fields) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(&FORWARDED).rev();
    lines.flat_map(|line| Elements(Some(line))).filter(|element| !element.is_empty())
}

/// The unread start of a line.
struct Elements<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.0?;
        let comma = last_comma(line);
        self.0 = comma.map(|comma| &line[..comma]);
        Some(line[comma.map_or(0, |comma| comma + 1)..].trim_ascii())
    }
}

/// The last comma outside quotes.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' => quoted = !quoted || is_escaped(&line[..at]),
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// One element: the parameters that the gate uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    node: Option<Cow<'a, [u8]>>,
    pub(super) proto: Option<Cow<'a, [u8]>>,
    pub(super) host: Option<Cow<'a, [u8]>>,
}

impl<'a> Element<'a> {
    /// `None` if it is malformed or has a parameter twice. White space around `;` is accepted.
    pub(super) fn parse(element: &'a [u8]) -> Option<Self> {
        let mut parsed = Self::default();
        let mut rest = element.trim_ascii();
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix(b";") {
                rest = behind.trim_ascii_start();
                continue;
            }
            let (name, behind) = rest.split_at(rest.iter().position(|byte| *byte == b'=')?);
            let value;
            (value, rest) = self::value(&behind[1..])?;
            rest = rest.trim_ascii_start();
            if !rest.is_empty() && rest[0] != b';' {
                return None;
            }
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            let known = if is(b"for") {
                &mut parsed.node
            } else if is(b"proto") {
                &mut parsed.proto
            } else if is(b"host") {
                &mut parsed.host
            } else if !name.is_empty() && name.iter().all(is_token) {
                continue;
            } else {
                return None;
            };
            if known.replace(value).is_some() {
                return None;
            }
        }
        Some(parsed)
    }

    /// The address in `for`; `None` if there is none, or a name instead (`unknown`, `_hidden`).
    pub(super) fn address(&self) -> Option<IpAddr> {
        node(self.node.as_deref()?)
    }
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte)
}

/// A value, and the text after it. An address with a port or in brackets is accepted without quotes, as some proxies send it.
fn value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let is_plain = |byte: &u8| is_token(byte) || b":[]".contains(byte);
        let end = text.iter().position(|byte| !is_plain(byte)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].into(), &text[end..]));
    };
    let mut unescaped = None;
    let mut at = 0;
    loop {
        match *quoted.get(at)? {
            b'"' => {
                let value = unescaped.map_or(Cow::Borrowed(&quoted[..at]), Cow::Owned);
                return Some((value, &quoted[at + 1..]));
            }
            b'\\' => {
                let copied = unescaped.get_or_insert_with(|| quoted[..at].to_vec());
                copied.push(*quoted.get(at + 1)?);
                at += 2;
            }
            byte => {
                if let Some(copied) = &mut unescaped {
                    copied.push(byte);
                }
                at += 1;
            }
        }
    }
}

/// `address`, `address:port`, `[v6]`, `[v6]:port`; the port may be a name (`_port`, RFC 7239 section 6).
pub(super) fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let hidden_port = |(host, port): (&'_ str, &str)| port.starts_with('_').then_some(host.len());
    let text = text.rsplit_once(':').and_then(hidden_port).map_or(text, |end| &text[..end]);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed: Option<IpAddr> = bare.parse().ok();
    parsed
        .or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn elements(lines: &[&str]) -> Vec<String> {
        let line = |line: &&str| (FORWARDED, HeaderValue::from_str(line).expect("a value"));
        let headers = lines.iter().map(line).collect::<HeaderMap>().into();
        let text = |element: &[u8]| String::from_utf8_lossy(element).into_owned();
        from_the_right(&headers).map(text).collect()
    }

    #[test]
    fn elements_are_read_last_first_and_commas_in_quotes_do_not_separate() {
        let table: [(&[&str], &[&str]); 8] = [
            (&[], &[]),
            (&["", " , ,"], &[]),
            (&["a=1, b=2", "c=3"], &["c=3", "b=2", "a=1"]),
            (&["a=\"1, 2\",b=\"3\""], &["b=\"3\"", "a=\"1, 2\""]),
            (&[r#"a="1\", 2",b=3"#], &["b=3", r#"a="1\", 2""#]),
            (&[r#"a="1\\", b=3"#], &["b=3", r#"a="1\\""#]),
            // An unclosed quote of a client does not swallow the elements of later hops.
            (&["for=\"x, for=1.1.1.1"], &["for=1.1.1.1", "for=\"x"]),
            (&["for=\"x\\, for=\"1.1.1.1\""], &["for=\"1.1.1.1\"", "for=\"x\\"]),
        ];
        for (lines, expected) in table {
            assert_eq!(elements(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn an_element_has_a_node_a_scheme_and_a_host() {
        let table = [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", Some("192.0.2.60"), Some("http"), None),
            ("For=\"[2001:db8:cafe::17]:4711\"", Some("2001:db8:cafe::17"), None, None),
            ("FOR=\"[2001:db8::1]\" ; Host=\"a:80\"", Some("2001:db8::1"), None, Some("a:80")),
            ("for=\"192.0.2.43:47011\"", Some("192.0.2.43"), None, None),
            ("for=\"192.0.2.43:_p\";ext=\"a;for=b,\"", Some("192.0.2.43"), None, None),
            ("for=\"[::1]:_p\"", Some("::1"), None, None),
            ("for=192.0.2.43:80", Some("192.0.2.43"), None, None),
            ("for=[::1]:80", Some("::1"), None, None),
            ("for=\"::ffff:192.0.2.1\"", Some("192.0.2.1"), None, None),
            (r#"for="1\92.0.2.1";host="\a""#, Some("192.0.2.1"), None, Some("a")),
            ("for=unknown;proto=https", None, Some("https"), None),
            ("for=\"_gazonk:80\"", None, None, None),
            (";;proto=https;", None, Some("https"), None),
        ];
        for (text, address, proto, host) in table {
            let element = Element::parse(text.as_bytes()).expect(text);
            assert_eq!(element.address().map(|ip| ip.to_string()).as_deref(), address, "{text}");
            assert_eq!(element.proto.as_deref(), proto.map(str::as_bytes), "{text}");
            assert_eq!(element.host.as_deref(), host.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn a_malformed_element_is_ignored() {
        for text in [
            "for",
            "for=",
            "=1.1.1.1",
            "for=\"1.1.1.1",
            "for=\"1.1.1.1\\",
            "for=\"1.1.1.1\"x",
            "for=1.1.1.1 2.2.2.2",
            "for=1.1.1.1;for=2.2.2.2",
            "fo r=1.1.1.1",
            "for =1.1.1.1",
            "for=1.1.1.1;\"=x",
        ] {
            assert_eq!(Element::parse(text.as_bytes()), None, "{text}");
        }
    }
}
