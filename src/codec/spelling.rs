//! Fields as lines, their names spelled as they came.
//!
//! A `HeaderMap` has names in lower case and keeps all values of a name together. Where HTTP/1.1 goes on as HTTP/1.1, names
//! are written as they were sent, in the order in which they were sent. Nearly all clients and servers capitalise each word
//! (`Content-Type`) and repeat no name in between: that needs no memory. Every other message has a [`Spelling`] among its
//! extensions. No decision rests on it: which fields there are, and their values, is the map's to say.

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Version};
use memchr::{memchr, memchr_iter};

use super::head::write_field;

/// How the names of a message are written.
#[derive(Clone, Copy, Debug)]
pub enum Names<'a> {
    /// In lower case, as HTTP/2 has them.
    Lower,
    /// Each word with a capital.
    Capitalized,
    /// As they came.
    Spelled(&'a Spelling),
}

impl<'a> Names<'a> {
    /// Those of a message that came in `version`.
    pub fn of(version: Version, extensions: &'a Extensions) -> Self {
        if version == Version::HTTP_2 {
            return Self::Lower;
        }
        match extensions.get() {
            Some(spelling) => Self::Spelled(spelling),
            None => Self::Capitalized,
        }
    }
}

/// The field lines of a head as they came.
#[derive(Clone, Debug)]
pub struct Spelling(Bytes);

impl Spelling {
    /// That of `fields`, parsed from `head`; `None` if [`Names::Capitalized`] spells them. `is_grouped`: no name comes back after
    /// another one.
    pub fn of(head: &Bytes, fields: &[httparse::Header<'_>], is_grouped: bool) -> Option<Self> {
        if is_grouped && fields.iter().all(|field| is_capitalized(field.name.as_bytes())) {
            return None;
        }
        let start = fields.first()?.name.as_ptr().addr().checked_sub(head.as_ptr().addr())?;
        Some(Self(head.slice(start.min(head.len())..)))
    }

    /// Names in order.
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        let line = move |end| &self.0[std::mem::replace(&mut start, end + 1)..end];
        let lines = memchr_iter(b'\n', &self.0).map(line);
        lines.filter_map(|line| Some(&line[..memchr(b':', line)?]))
    }
}

fn is_capitalized(name: &[u8]) -> bool {
    let mut begins = FIRST;
    name.chunks(WORD_BYTES).map(Word::of).all(|word| {
        let begins = word.begins(&mut begins);
        (word.lower() & begins) | (word.upper() & !begins) == 0
    })
}

const WORD_BYTES: usize = size_of::<u64>();

/// The high bit of each byte.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of the first byte.
const FIRST: u64 = 0x80;

/// Eight bytes of a name, all of them ASCII, looked at together: names are spelled on each message.
#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
    /// `bytes`, at most eight, and zeros behind them.
    fn of(bytes: &[u8]) -> Self {
        let mut word = [0; WORD_BYTES];
        word[..bytes.len()].copy_from_slice(bytes);
        Self(u64::from_le_bytes(word))
    }

    /// The high bit of each byte that is between `first` and `last`.
    const fn between(self, first: u8, last: u8) -> u64 {
        const EACH: u64 = 0x0101_0101_0101_0101;
        let at_least = self.0 + EACH * (0x80 - first as u64);
        let above = self.0 + EACH * (0x7f - last as u64);
        at_least & !above & HIGH
    }

    const fn lower(self) -> u64 {
        self.between(b'a', b'z')
    }

    const fn upper(self) -> u64 {
        self.between(b'A', b'Z')
    }

    /// The high bit of each byte that begins a word. `first`: that of the first one, which is set for the next eight.
    const fn begins(self, first: &mut u64) -> u64 {
        let hyphens = self.between(b'-', b'-');
        let begins = (hyphens << 8) | *first;
        *first = hyphens >> 56;
        begins
    }
}

/// Writes the lines of those of `headers` that pass.
pub fn write_fields(
    out: &mut Vec<u8>,
    headers: &HeaderMap,
    names: Names<'_>,
    mut passes: impl FnMut(&HeaderName, &HeaderValue) -> bool,
) {
    match names {
        Names::Spelled(spelling) => write_spelled(out, headers, spelling, &mut passes),
        Names::Lower => {
            for (name, value) in headers {
                if passes(name, value) {
                    write_field(out, name.as_str().as_bytes(), value.as_bytes());
                }
            }
        }
        Names::Capitalized => {
            for (name, value) in headers {
                if passes(name, value) {
                    let start = out.len();
                    write_field(out, name.as_str().as_bytes(), value.as_bytes());
                    capitalize(&mut out[start..start + name.as_str().len()]);
                }
            }
        }
    }
}

fn capitalize(name: &mut [u8]) {
    let mut begins = FIRST;
    for bytes in name.chunks_mut(WORD_BYTES) {
        let word = Word::of(bytes);
        let capitals = word.0 ^ ((word.lower() & word.begins(&mut begins)) >> 2);
        bytes.copy_from_slice(&capitals.to_le_bytes()[..bytes.len()]);
    }
}

/// Most maps have the order of their lines; what was added since comes last.
fn write_spelled(
    out: &mut Vec<u8>,
    headers: &HeaderMap,
    spelling: &Spelling,
    passes: &mut impl FnMut(&HeaderName, &HeaderValue) -> bool,
) {
    let mut fields = headers.iter();
    for (at, spelled) in spelling.names().enumerate() {
        match fields.next() {
            Some((name, value)) if spelled.eq_ignore_ascii_case(name.as_str().as_bytes()) => {
                if passes(name, value) {
                    write_field(out, spelled, value.as_bytes());
                }
            }
            _ => return write_reordered(out, headers, spelling, at, passes),
        }
    }
    for (name, value) in fields {
        if passes(name, value) {
            write_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

/// The same from line `start` on, whatever the order of the map: where a name was sent for the nth time, its nth value.
fn write_reordered(
    out: &mut Vec<u8>,
    headers: &HeaderMap,
    spelling: &Spelling,
    start: usize,
    passes: &mut impl FnMut(&HeaderName, &HeaderValue) -> bool,
) {
    let mut left: Vec<_> = headers.keys().map(|name| headers.get_all(name).iter()).collect();
    let order: HeaderMap<usize> = headers.keys().cloned().zip(0..).collect();
    for (at, spelled) in spelling.names().enumerate() {
        let Some(index) = HeaderName::from_bytes(spelled).ok().and_then(|name| order.get(name))
        else {
            continue;
        };
        if let (Some(name), Some(value)) = (headers.keys().nth(*index), left[*index].next())
            && at >= start
            && passes(name, value)
        {
            write_field(out, spelled, value.as_bytes());
        }
    }
    for (name, values) in headers.keys().zip(left) {
        for value in values {
            if passes(name, value) {
                write_field(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(lines: &str) -> (HeaderMap, Option<Spelling>) {
        let head = Bytes::from(format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        assert!(request.parse(&head).is_ok_and(|status| status.is_complete()));
        let mut headers = HeaderMap::new();
        for field in request.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_bytes(field.value).expect("a value"));
        }
        (headers, Spelling::of(&head, request.headers, false))
    }

    fn written(headers: &HeaderMap, names: Names<'_>) -> String {
        let mut out = Vec::new();
        write_fields(&mut out, headers, names, |name, _| name != "gone");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        for lines in [
            "Host: a\r\n",
            "hOST: a\r\nX: 1\r\nx: 2\r\nDNT: 1\r\n",
            "A: 1\r\nb: 2\r\nA: 3\r\nB: 4\r\nC: \r\na: 5\r\n",
        ] {
            let (headers, spelling) = parsed(lines);
            let spelling = spelling.expect("a spelling");
            assert_eq!(written(&headers, Names::Spelled(&spelling)), lines);
        }
    }

    #[test]
    fn the_map_decides_which_fields_there_are() {
        let (mut headers, spelling) = parsed("a: 1\r\nGONE: 2\r\nA: 3\r\nb: 4\r\nC: 5\r\n");
        let spelling = spelling.expect("a spelling");
        headers.remove("b");
        headers.insert("c", HeaderValue::from_static("6"));
        headers.append("a", HeaderValue::from_static("7"));
        headers.append("d", HeaderValue::from_static("8"));
        let names = Names::Spelled(&spelling);
        assert_eq!(written(&headers, names), "a: 1\r\nA: 3\r\nC: 6\r\na: 7\r\nd: 8\r\n");
    }

    #[test]
    fn the_usual_spelling_needs_none_of_its_own() {
        let head =
            Bytes::from_static(b"Host: a\r\nX-Grafana-Org-Id: 1\r\nTe: 2\r\n3-Ab!c: 4\r\n\r\n");
        let mut fields = [httparse::EMPTY_HEADER; 8];
        let Ok(httparse::Status::Complete((_, fields))) =
            httparse::parse_headers(&head, &mut fields)
        else {
            panic!("no fields");
        };
        assert!(Spelling::of(&head, fields, true).is_none());
        assert!(Spelling::of(&head, fields, false).is_some());
        let mut headers = HeaderMap::new();
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_bytes(field.value).expect("a value"));
        }
        assert_eq!(written(&headers, Names::Capitalized).as_bytes(), &head[..head.len() - 2]);
    }

    #[test]
    fn eight_bytes_together_are_as_eight_one_by_one() {
        let plain = |name: &[u8]| {
            let mut begins = true;
            name.iter().all(|byte| {
                let fits =
                    if begins { !byte.is_ascii_lowercase() } else { !byte.is_ascii_uppercase() };
                begins = *byte == b'-';
                fits
            })
        };
        let bytes = b"aAzZ-@[`{_09~";
        for seed in 0..20_000_usize {
            let mut state = seed;
            let name: Vec<u8> = (0..seed % 27)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
                    bytes[(state >> 33) % bytes.len()]
                })
                .collect();
            assert_eq!(is_capitalized(&name), plain(&name), "{}", name.escape_ascii());
            let mut capitalized = name.to_ascii_lowercase();
            capitalize(&mut capitalized);
            assert!(plain(&capitalized) && capitalized.eq_ignore_ascii_case(&name));
        }
        for unusual in ["DNT", "ETag", "host", "X-a", "x-A"] {
            assert!(!is_capitalized(unusual.as_bytes()), "{unusual}");
        }
    }
}
