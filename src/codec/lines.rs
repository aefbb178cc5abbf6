//! Field lines as they came: names in their case, fields in their order, white space where it was.
//!
//! What neither side of the gate looks at goes from one head into the next as bytes; each run of neighbouring lines is one
//! copy. Nothing is in here that a parser has not judged.

use bytes::Bytes;
use memchr::{memchr, memchr_iter};

/// Most runs of one head; a head that would have more is taken apart field by field.
const MAX_RUNS: usize = 6;

/// The lines of a head that go on.
#[derive(Clone, Debug)]
pub struct Lines {
    head: Bytes,
    runs: [(u32, u32); MAX_RUNS],
    used: usize,
    /// Whether `Content-Length` is among them.
    pub has_length: bool,
    /// Whether `Host` is.
    pub has_host: bool,
    /// Whether `Date` is.
    pub has_date: bool,
}

impl Lines {
    /// None of the lines of `head`, whose lines all end in CRLF.
    pub fn new(head: Bytes) -> Self {
        let runs = [(0, 0); MAX_RUNS];
        Self { head, runs, used: 0, has_length: false, has_host: false, has_date: false }
    }

    /// The head they are of.
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// Keeps the line whose name is `name`, a part of the head; false when there is no room for another run.
    #[must_use]
    pub fn keep(&mut self, name: &[u8]) -> bool {
        let start = name.as_ptr().addr().wrapping_sub(self.head.as_ptr().addr());
        let Some(length) = self.head.get(start..).and_then(|rest| memchr(b'\n', rest)) else {
            return false;
        };
        let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(start + length + 1)) else {
            return false;
        };
        if let Some(last) = self.runs[..self.used].last_mut()
            && last.1 == start
        {
            last.1 = end;
            return true;
        }
        let Some(run) = self.runs.get_mut(self.used) else { return false };
        *run = (start, end);
        self.used += 1;
        true
    }

    /// The lines as bytes, in order.
    pub fn runs(&self) -> impl Iterator<Item = &[u8]> {
        self.runs[..self.used].iter().map(|(start, end)| &self.head[*start as usize..*end as usize])
    }

    /// The same field by field, values trimmed.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.runs().flat_map(lines).filter_map(|line| {
            let colon = memchr(b':', line)?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }
}

fn lines(run: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b'\n', run).map(move |end| &run[std::mem::replace(&mut start, end + 1)..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run_and_come_as_they_were() {
        let head =
            Bytes::from_static(b"GET / HTTP/1.1\r\nHOST: a\r\nX:  1 \r\nTe: x\r\ny:2\r\n\r\n");
        let mut lines = Lines::new(head.clone());
        for name in [&head[16..20], &head[25..26], &head[40..41]] {
            assert!(lines.keep(name), "{}", name.escape_ascii());
        }
        let runs: Vec<_> = lines.runs().collect();
        assert_eq!(runs, [&b"HOST: a\r\nX:  1 \r\n"[..], b"y:2\r\n"]);
        let fields: Vec<_> = lines.fields().collect();
        assert_eq!(fields, [(&b"HOST"[..], &b"a"[..]), (b"X", b"1"), (b"y", b"2")]);
    }

    #[test]
    fn there_is_an_end_to_runs() {
        let head = Bytes::from("a: 1\r\nb: 2\r\n".repeat(8));
        let mut lines = Lines::new(head.clone());
        let kept = (0..8).filter(|n| lines.keep(&head[n * 12..n * 12 + 1])).count();
        assert_eq!(kept, MAX_RUNS);
    }
}
