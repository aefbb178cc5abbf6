//! The header fields of one message, independent of the protocol version.
//!
//! From HTTP/1.1, they stay lines as received: case of names, order and white space are kept, a whole head takes one allocation, and
//! adjacent lines are written with one copy. From HTTP/2, and in the gate's own responses, they are a [`HeaderMap`].
//! [`Fields::get`], [`get_all`](Fields::get_all) and [`iter`](Fields::iter) work on both.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::policy::{self, Field, Known, Present};

/// The fields of a message.
#[derive(Clone, Debug)]
pub struct Fields(Form);

#[derive(Clone, Debug)]
enum Form {
    Lines(Lines),
    Map(HeaderMap),
}

/// The lines of a head, and added fields.
#[derive(Clone, Debug)]
struct Lines {
    head: Bytes,
    lines: Vec<Line>,
    /// Which names of the policy table the lines have.
    present: Present,
    /// Whether each line ends in CRLF, so that it can be written unchanged.
    is_verbatim: bool,
    added: Vec<(HeaderName, HeaderValue)>,
}

/// The position of a field in its head.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: u32,
    name_bytes: u32,
    value_start: u32,
    value_bytes: u32,
    known: Option<Known>,
}

/// Collects the lines of one head.
#[derive(Debug)]
pub struct Collecting(Lines);

impl Collecting {
    /// No lines yet; `head` has `count` of them.
    pub fn new(head: &Bytes, count: usize) -> Self {
        Self(Lines {
            head: head.clone(),
            lines: Vec::with_capacity(count),
            present: Present::default(),
            is_verbatim: true,
            added: Vec::new(),
        })
    }

    /// Adds a line. `name` and `value` are slices of the head; `known` is [`policy::known`] of the name.
    pub fn add(&mut self, name: &[u8], value: &[u8], known: Option<Known>) {
        let lines = &mut self.0;
        // A head is far below 4 GiB.
        let offset =
            |part: &[u8]| part.as_ptr().addr().wrapping_sub(lines.head.as_ptr().addr()) as u32;
        let value_start = if value.is_empty() { offset(name) } else { offset(value) };
        lines.lines.push(Line {
            start: offset(name),
            name_bytes: name.len() as u32,
            value_start,
            value_bytes: value.len() as u32,
            known,
        });
        if let Some(known) = known {
            lines.present.add(known);
        }
    }

    /// The fields. `is_verbatim`: each line of the head ends in CRLF.
    pub fn finish(mut self, is_verbatim: bool) -> Fields {
        self.0.is_verbatim = is_verbatim;
        Fields(Form::Lines(self.0))
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        Self(Form::Map(map))
    }
}

impl Default for Fields {
    fn default() -> Self {
        HeaderMap::new().into()
    }
}

impl Fields {
    /// The first value of `name`.
    pub fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        match &self.0 {
            Form::Lines(lines) => lines.get(name),
            Form::Map(map) => map.get(name).map(HeaderValue::as_bytes),
        }
    }

    /// Whether there is a field `name`.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Which names of the policy table they have.
    pub fn present(&self) -> Present {
        let (mut present, added) = match &self.0 {
            Form::Lines(lines) if lines.added.is_empty() => return lines.present,
            Form::Lines(lines) => (lines.present, Some(lines.added.iter().map(|(name, _)| name))),
            Form::Map(_) => (Present::default(), None),
        };
        let of_map = match &self.0 {
            Form::Map(map) => Some(map.keys()),
            Form::Lines(_) => None,
        };
        let names = added.into_iter().flatten().chain(of_map.into_iter().flatten());
        for known in names.filter_map(|name| policy::known(name.as_str().as_bytes())) {
            present.add(known);
        }
        present
    }

    /// All values of `name`, in order.
    pub fn get_all<'a>(
        &'a self,
        name: &HeaderName,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
        let (lines, map) = match &self.0 {
            Form::Lines(lines) => (Some(lines.get_all(name.clone())), None),
            Form::Map(map) => (None, Some(map.get_all(name).into_iter())),
        };
        let map = map.into_iter().flatten().map(HeaderValue::as_bytes);
        lines.into_iter().flatten().chain(map)
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        let (lines, map) = match &self.0 {
            Form::Lines(lines) => (Some(lines.iter()), None),
            Form::Map(map) => (None, Some(map.iter())),
        };
        let map = map.into_iter().flatten().map(|(name, value)| Field::of(name, value));
        lines.into_iter().flatten().chain(map)
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Lines(lines) => lines.lines.len() + lines.added.len(),
            Form::Map(map) => map.len(),
        }
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces all values of `name` by one.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        match &mut self.0 {
            Form::Lines(lines) => {
                lines.remove(&name);
                lines.added.reserve_exact(1);
                lines.added.push((name, value));
            }
            Form::Map(map) => drop(map.insert(name, value)),
        }
    }

    /// Removes all values of `name`, and returns the first.
    pub fn remove(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        match &mut self.0 {
            Form::Lines(lines) => {
                let first = lines.get_all(name.clone()).next();
                let first = first.and_then(|value| HeaderValue::from_bytes(value).ok());
                lines.remove(name);
                first
            }
            Form::Map(map) => map.remove(name),
        }
    }

    /// Keeps the fields that `keeps` accepts.
    pub fn retain(&mut self, mut keeps: impl FnMut(Field<'_>) -> bool) {
        match &mut self.0 {
            Form::Lines(lines) => {
                let Lines { head, lines, present, added, .. } = lines;
                lines.retain(|line| keeps(line.field(head)));
                added.retain(|(name, value)| keeps(Field::of(name, value)));
                *present = Present::default();
                lines.iter().filter_map(|line| line.known).for_each(|known| present.add(known));
            }
            // Removing them one by one would change the order.
            Form::Map(map) => {
                let kept: Vec<bool> =
                    map.iter().map(|(name, value)| keeps(Field::of(name, value))).collect();
                if kept.iter().any(|kept| !kept) {
                    let pairs = map.iter().zip(kept).filter(|(_, kept)| *kept);
                    *map = pairs.map(|((name, value), _)| (name.clone(), value.clone())).collect();
                }
            }
        }
    }

    /// All fields as a map. Values share the head's bytes.
    pub fn into_map(self) -> HeaderMap {
        let lines = match self.0 {
            Form::Map(map) => return map,
            Form::Lines(lines) => lines,
        };
        let mut map = HeaderMap::with_capacity(lines.lines.len() + lines.added.len());
        for line in &lines.lines {
            let Field { name, value, .. } = line.field(&lines.head);
            let value = HeaderValue::from_maybe_shared(lines.head.slice_ref(value));
            // The parser has validated both.
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
                map.append(name, value);
            }
        }
        map.extend(lines.added);
        map
    }

    /// Gives the fields that `passes` accepts to `write`, as lines of an HTTP/1.1 head, each with its CRLF.
    pub fn write(&self, mut passes: impl FnMut(Field<'_>) -> bool, mut write: impl FnMut(&[u8])) {
        let lines = match &self.0 {
            Form::Lines(lines) => lines,
            Form::Map(map) => {
                for field in map.iter().map(|(name, value)| Field::of(name, value)) {
                    if passes(field) {
                        write_line(field.name, field.value, &mut write);
                    }
                }
                return;
            }
        };
        let Lines { head, lines, is_verbatim, added, .. } = lines;
        // Adjacent lines are one run.
        let mut run: Option<(usize, usize)> = None;
        for line in lines {
            let field = line.field(head);
            if !passes(field) {
                continue;
            }
            if !is_verbatim {
                write_line(field.name, field.value, &mut write);
                continue;
            }
            let start = line.start as usize;
            let end = line.end(head);
            match &mut run {
                Some((_, run_end)) if *run_end == start => *run_end = end,
                Some((run_start, run_end)) => {
                    write(&head[*run_start..*run_end]);
                    run = Some((start, end));
                }
                None => run = Some((start, end)),
            }
        }
        if let Some((start, end)) = run {
            write(&head[start..end]);
        }
        for field in added.iter().map(|(name, value)| Field::of(name, value)) {
            if passes(field) {
                write_line(field.name, field.value, &mut write);
            }
        }
    }
}

fn write_line(name: &[u8], value: &[u8], write: &mut impl FnMut(&[u8])) {
    write(name);
    write(b": ");
    write(value);
    write(b"\r\n");
}

impl Line {
    fn field(self, head: &[u8]) -> Field<'_> {
        let Self { start, name_bytes, value_start, value_bytes, known } = self;
        let part = |start: u32, bytes: u32| &head[start as usize..][..bytes as usize];
        Field { name: part(start, name_bytes), value: part(value_start, value_bytes), known }
    }

    /// The position after its CRLF.
    fn end(self, head: &[u8]) -> usize {
        let value_end =
            (self.value_start + self.value_bytes).max(self.start + self.name_bytes) as usize;
        match &head[value_end..] {
            [b'\r', b'\n', ..] => value_end + 2,
            rest => value_end + memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1),
        }
    }
}

impl Lines {
    fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        let lines = self.lines.iter().map(|line| line.field(&self.head));
        lines.chain(self.added.iter().map(|(name, value)| Field::of(name, value)))
    }

    fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        let known = policy::known(name.as_str().as_bytes());
        let is_there = known.is_none_or(|known| self.present.has(known));
        let lines = if is_there { &self.lines[..] } else { &[] };
        let mut lines = lines.iter().filter(|line| line.known == known);
        let field = lines.find_map(|line| {
            let field = line.field(&self.head);
            (known.is_some() || field.is(name)).then_some(field.value)
        });
        let added = || self.added.iter().find(|(added, _)| added == name);
        field.or_else(|| added().map(|(_, value)| value.as_bytes()))
    }

    fn get_all(&self, name: HeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
        let known = policy::known(name.as_str().as_bytes());
        let is_there = known.is_none_or(|known| self.present.has(known));
        let lines = if is_there { &self.lines[..] } else { &[] };
        let added = self.added.iter();
        let of_lines = name.clone();
        let lines = lines.iter().filter(move |line| line.known == known);
        let lines = lines.map(|line| line.field(&self.head));
        let lines = lines.filter(move |field| known.is_some() || field.is(&of_lines));
        let added = added.filter(move |(added, _)| *added == name);
        lines.map(|field| field.value).chain(added.map(|(_, value)| value.as_bytes()))
    }

    fn remove(&mut self, name: &HeaderName) {
        let known = policy::known(name.as_str().as_bytes());
        if known.is_none_or(|known| self.present.has(known)) {
            let head = &self.head;
            self.lines.retain(|line| !line.field(head).is(name));
        }
        if let Some(known) = known {
            self.present.remove(known);
        }
        self.added.retain(|(added, _)| added != name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(lines: &str) -> Fields {
        let head = Bytes::from(format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        assert!(request.parse(&head).is_ok_and(|status| status.is_complete()), "{lines:?}");
        let mut collecting = Collecting::new(&head, request.headers.len());
        for field in request.headers.iter() {
            let name = field.name.as_bytes();
            collecting.add(name, field.value, policy::known(name));
        }
        collecting.finish(!lines.replace("\r\n", "").contains('\n'))
    }

    fn written(fields: &Fields, left_out: &str) -> String {
        let mut out = Vec::new();
        let passes = |field: Field<'_>| !field.name.eq_ignore_ascii_case(left_out.as_bytes());
        fields.write(passes, |bytes| out.extend_from_slice(bytes));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn lines_are_written_as_received() {
        let lines = "hOST: a\r\nX:  1 \r\nGone: 2\r\nx:2\r\nDNT:\r\nVia: \t \r\nX: 3\r\n";
        let fields = parsed(lines);
        assert_eq!(written(&fields, ""), lines);
        assert_eq!(written(&fields, "gone"), lines.replace("Gone: 2\r\n", ""));
        assert_eq!(written(&fields, "x"), "hOST: a\r\nGone: 2\r\nDNT:\r\nVia: \t \r\n");
    }

    #[test]
    fn a_line_without_cr_gets_one() {
        assert_eq!(written(&parsed("Host: a\nX:  1 \r\n"), ""), "Host: a\r\nX: 1\r\n");
    }

    #[test]
    fn set_replaces_all_lines_of_a_name() {
        let mut fields = parsed("Via: 1\r\nX-Request-Id: 2\r\nvia: 3\r\nA: 4\r\n");
        fields.set(http::header::VIA, HeaderValue::from_static("5"));
        fields.set(HeaderName::from_static("a"), HeaderValue::from_static("6"));
        assert_eq!(fields.get(&http::header::VIA), Some(&b"5"[..]));
        assert_eq!(written(&fields, ""), "X-Request-Id: 2\r\nvia: 5\r\na: 6\r\n");
        let removed = fields.remove(&HeaderName::from_static("x-request-id"));
        assert_eq!((removed, fields.len()), (Some(HeaderValue::from_static("2")), 2));
        assert!(!fields.contains(&HeaderName::from_static("x-request-id")));
    }

    #[test]
    fn fields_that_are_not_kept_are_not_present() {
        let mut fields = parsed("Host: a\r\nVia: 1\r\nX: 2\r\n");
        fields.set(http::header::CONNECTION, HeaderValue::from_static("close"));
        fields.retain(|field| field.is(&HeaderName::from_static("x")));
        let present = fields.present();
        assert!(!present.has(policy::HOST) && !present.has(policy::CONNECTION));
        assert_eq!(written(&fields, ""), "X: 2\r\n");
    }

    proptest! {
        /// A map made of lines has the same fields.
        #[test]
        fn lines_and_map_have_the_same_fields(
            lines in prop::collection::vec(
                (
                    prop::sample::select(&["Host", "VIA", "via", "X-A", "x-a", "te", "TE", "Cookie", "b"][..]),
                    prop::sample::select(&["", "1", " 2", "a, b", "\t x \t"][..]),
                ),
                0..12,
            ),
            left_out in prop::sample::select(&["via", "x-a", "none", "b"][..]),
        ) {
            let text: String = lines.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
            let mut fields = parsed(&text);
            let map = Fields::from(fields.clone().into_map());
            prop_assert_eq!((fields.len(), map.len()), (lines.len(), lines.len()));
            let pairs: Vec<_> = fields.iter().map(|field| (field.name, field.value)).collect();
            let sent = lines.iter().map(|(name, value)| (name.as_bytes(), value.trim().as_bytes()));
            prop_assert_eq!(pairs, sent.collect::<Vec<_>>());
            for name in ["host", "via", "x-a", "te", "cookie", "b", "none"].map(HeaderName::from_static) {
                let values: Vec<_> = fields.get_all(&name).collect();
                prop_assert_eq!(&values, &map.get_all(&name).collect::<Vec<_>>());
                let backwards: Vec<_> = fields.get_all(&name).rev().collect();
                prop_assert!(backwards.into_iter().rev().eq(values));
            }
            let kept = written(&fields, left_out);
            fields.retain(|field| !field.name.eq_ignore_ascii_case(left_out.as_bytes()));
            prop_assert_eq!(written(&fields, ""), kept);
        }
    }
}
