//! Chunked coding and mutations of generated messages, for both directions.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// `body` in chunks of these sizes, and the rest in one.
pub(crate) fn chunked(body: &[u8], sizes: &[usize], extension: &str, trailers: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), body);
    for size in sizes.iter().chain([&body.len()]) {
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        rest = behind;
        if !piece.is_empty() {
            bytes.extend(format!("{:x}{extension}\r\n", piece.len()).bytes());
            bytes.extend([piece, b"\r\n"].concat());
        }
    }
    bytes.extend(format!("0{extension}\r\n").bytes());
    bytes.extend(latin(trailers));
    bytes.extend(b"\r\n");
    bytes
}

/// Characters as single bytes (Latin-1).
pub(crate) fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|char| char as u8).collect()
}

/// A mutation of a message.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Truncate(Index),
    Drop(Index),
    Insert(Index, &'static str),
    Replace(Index, u8),
    /// Inserted after a line end.
    Line(Index, &'static str),
    Repeat(Index, Index),
    /// Swaps two lines.
    Swap(Index, Index),
    /// Repeats a line after another.
    Double(Index, Index),
    /// Replaces a CRLF by a part of it, or by more.
    LineEnd(Index, &'static str),
}

/// One mutation: by short byte strings, including `more`, or by whole `lines`.
pub(crate) fn mutation(
    more: Vec<&'static str>,
    lines: Vec<&'static str>,
) -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let bits = vec![
        "\0", "\r", "\n", "\r\n", " ", "\t", ":", ";", ",", "0", "1", "f", "-", "+", "x", "\x7f",
        "\u{80}", "\r\n\r\n",
    ];
    let bits = select([bits, more].concat());
    let lines = select(lines);
    let line_ends = select(vec!["\n", "\r", "", "\r\r\n", "\n\r", " \r\n", "\r\n "]);
    prop_oneof![
        2 => at().prop_map(Mutation::Truncate),
        1 => at().prop_map(Mutation::Drop),
        3 => (at(), bits).prop_map(|(at, bit)| Mutation::Insert(at, bit)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        4 => (at(), lines).prop_map(|(at, line)| Mutation::Line(at, line)),
        1 => (at(), at()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
        1 => (at(), at()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        1 => (at(), at()).prop_map(|(line, to)| Mutation::Double(line, to)),
        3 => (at(), line_ends).prop_map(|(at, end)| Mutation::LineEnd(at, end)),
    ]
}

impl Mutation {
    /// Mutates `bytes`.
    pub(crate) fn on(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let line_ends: Vec<usize> = bytes
            .windows(2)
            .enumerate()
            .filter(|(_, two)| two == b"\r\n")
            .map(|(at, _)| at)
            .collect();
        match self {
            Self::Truncate(at) => bytes.truncate(at.index(bytes.len())),
            Self::Drop(at) => drop(bytes.remove(at.index(bytes.len()))),
            Self::Insert(at, bit) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, latin(bit));
            }
            Self::Replace(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Line(..) | Self::LineEnd(..) | Self::Swap(..) | Self::Double(..)
                if line_ends.is_empty() => {}
            Self::Line(at, line) => {
                let at = line_ends[at.index(line_ends.len())] + 2;
                bytes.splice(at..at, line.bytes());
            }
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(to..to, part);
            }
            Self::Swap(one, other) => {
                let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                let (one, other) = (one.index(lines.len()), other.index(lines.len()));
                lines.swap(one, other);
                *bytes = lines.concat();
            }
            Self::Double(line, to) => {
                let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                let line = lines[line.index(lines.len())];
                lines.insert(to.index(lines.len()), line);
                *bytes = lines.concat();
            }
            Self::LineEnd(at, end) => {
                let at = line_ends[at.index(line_ends.len())];
                bytes.splice(at..at + 2, end.bytes());
            }
        }
    }
}

/// Where bytes are cut: nowhere, at some places, everywhere.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(Vec::new()),
        vec(any::<u16>().prop_map(usize::from), 0..6),
        Just((0..400).collect())
    ]
}

/// A number of cases; failures are reported, not persisted.
pub(crate) fn settings(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
