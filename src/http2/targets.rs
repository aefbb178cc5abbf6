//! Finds requests with a `#` in their `:path`, in the frames as they arrive.
//!
//! The codec hands `:path` to `http::uri::PathAndQuery`, which drops the `#` and what follows it (h2 0.4.20, http 1.5). This
//! module therefore also reads the field blocks (RFC 7541 section 6). It reads only the values of `:path`, skips all other fields
//! by their lengths, and records for each entry of the dynamic table whether it is a `:path`. Once its dynamic table may differ
//! from the codec's, it refuses every later request: after a malformed block, a stream that depends on itself (the codec skips its
//! block), or a PUSH_PROMISE (only the codec reads its block). Clones share the record.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use memchr::memchr;

use super::frames::{CONTINUATION, END_HEADERS, Frames, HEADERS, PUSH_PROMISE, Piece};
use super::io::Follow;

const PREFACE_BYTES: usize = 24;
/// The default SETTINGS_MAX_FRAME_SIZE, which the gate does not change; the codec ends the connection at a longer frame.
const MAX_FRAME_BYTES: usize = 16_384;

const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// `:path /` and `:path /index.html` (RFC 7541 appendix A); the dynamic table follows the static one.
const STATIC_PATHS: std::ops::RangeInclusive<usize> = 4..=5;
const FIRST_DYNAMIC: usize = 62;
/// An entry counts at least 32 bytes (RFC 7541 section 4.1), and the table has the default size of 4096.
const MAX_ENTRIES: usize = 4096 / 32;

/// Most requests with a fragment that are kept until the codec reports them; a client with more is refused from then on.
const MAX_FOUND: usize = 1024;

/// `:path` in Huffman code, and its padding.
const PACKED_PATH: [u8; 4] = [0xb9, 0x58, 0xd3, 0x3f];

/// The requests of one client that have a fragment in their target.
#[derive(Clone, Debug)]
pub struct Targets(Rc<RefCell<Record>>);

#[derive(Debug, Default)]
struct Record {
    frames: Frames,
    /// Payload so far of the current HEADERS or CONTINUATION frame, if it was cut.
    payload: Vec<u8>,
    /// The part of a field that the next frame continues.
    rest: Vec<u8>,
    /// The current block has a target with a fragment.
    marked: bool,
    /// Entries of the dynamic table, newest first.
    table: VecDeque<Entry>,
    found: Vec<u32>,
    /// The codec's dynamic table may differ from here on. Applies to all streams: a bad frame may name any.
    lost: bool,
}

/// An entry of the dynamic table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Other,
    Path,
    /// With a `#`.
    Marked,
}

/// The codec cannot read the block either.
#[derive(Debug)]
struct Malformed;

impl Targets {
    /// The record of a new connection, before its preface was read.
    pub(crate) fn new() -> Self {
        let frames = Frames::behind(PREFACE_BYTES);
        Self(Rc::new(RefCell::new(Record { frames, ..Record::default() })))
    }

    /// Whether the target of the request on `stream` has a fragment. Call it once per request, in the order of the requests.
    pub fn has_fragment(&self, stream: u32) -> bool {
        let record = &mut *self.0.borrow_mut();
        let found = !record.found.is_empty() && record.found.contains(&stream);
        record.found.retain(|found| *found > stream);
        record.lost || found
    }
}

impl Follow for Targets {
    fn follow(&self, mut bytes: &[u8]) {
        let record = &mut *self.0.borrow_mut();
        while !record.lost
            && let Some(piece) = record.frames.next(&mut bytes)
        {
            record.take(&piece);
        }
    }
}

impl Record {
    /// Takes a piece of a frame, and reads the frame if it is complete.
    fn take(&mut self, &Piece { kind, flags, stream, payload: piece, left }: &Piece<'_>) {
        if kind == PUSH_PROMISE {
            // A client must not send one. The codec decodes its block, and may then only reset the stream.
            self.lost = true;
        }
        if !matches!(kind, HEADERS | CONTINUATION) {
            return;
        }
        if left > 0 {
            if left + self.payload.len() + piece.len() > MAX_FRAME_BYTES {
                self.lost = true;
            }
            return self.payload.extend_from_slice(piece);
        }
        let mut payload = std::mem::take(&mut self.payload);
        let whole = if payload.is_empty() {
            piece
        } else {
            payload.extend_from_slice(piece);
            &payload
        };
        if self.fields(kind, flags, stream, whole).is_err() || self.found.len() > MAX_FOUND {
            self.lost = true;
        }
        if flags & END_HEADERS != 0 && std::mem::take(&mut self.marked) {
            self.found.push(stream);
        }
    }

    /// Reads the fields in the payload of a frame.
    fn fields(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        mut payload: &[u8],
    ) -> Result<(), Malformed> {
        if kind == HEADERS && flags & (PADDED | PRIORITY) != 0 {
            let mut padding = 0;
            if flags & PADDED != 0 {
                let (first, behind) = payload.split_first().ok_or(Malformed)?;
                (padding, payload) = (usize::from(*first), behind);
            }
            if flags & PRIORITY != 0 {
                let (dependency, behind) = payload.split_first_chunk().ok_or(Malformed)?;
                // The codec resets the stream and skips its block: its table lacks the entries.
                if u32::from_be_bytes(*dependency) & (u32::MAX >> 1) == stream {
                    return Err(Malformed);
                }
                payload = behind.get(1..).ok_or(Malformed)?;
            }
            let end = payload.len().checked_sub(padding).ok_or(Malformed)?;
            payload = &payload[..end];
        }
        let mut joined = std::mem::take(&mut self.rest);
        let mut block = payload;
        if !joined.is_empty() {
            joined.extend_from_slice(payload);
            block = &joined;
        }
        while !block.is_empty() {
            match self.field(block)? {
                Some(behind) => block = behind,
                None if flags & END_HEADERS != 0 => return Err(Malformed),
                None => {
                    self.rest = block.to_vec();
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads one field (RFC 7541 section 6). Returns the rest of the block, or `None` if the field is incomplete.
    fn field<'a>(&mut self, block: &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
        let first = block[0];
        let (bits, is_literal) = match first {
            0x80.. => (7, false),
            0x40..0x80 => (6, true),
            0x20..0x40 => (5, false),
            _ => (4, true),
        };
        let Some((index, block)) = integer(block, bits)? else { return Ok(None) };
        if !is_literal {
            self.marked |= first >= 0x80 && self.entry(index) == Entry::Marked;
            return Ok(Some(block));
        }
        let (mut is_path, mut block) = (self.entry(index) != Entry::Other, block);
        if index == 0 {
            let Some((name, behind)) = string(block)? else { return Ok(None) };
            (is_path, block) = (name.is_path(), behind);
        }
        let Some((value, block)) = string(block)? else { return Ok(None) };
        let entry = match is_path {
            true if value.has_number_sign() => Entry::Marked,
            true => Entry::Path,
            false => Entry::Other,
        };
        self.marked |= entry == Entry::Marked;
        if bits == 6 {
            self.table.truncate(MAX_ENTRIES - 1);
            self.table.push_front(entry);
        }
        Ok(Some(block))
    }

    fn entry(&self, index: usize) -> Entry {
        match index.checked_sub(FIRST_DYNAMIC) {
            // If there is no such entry, the codec ends the connection.
            Some(dynamic) => self.table.get(dynamic).copied().unwrap_or(Entry::Other),
            None if STATIC_PATHS.contains(&index) => Entry::Path,
            None => Entry::Other,
        }
    }
}

/// A string as it is encoded (RFC 7541 section 5.2).
#[derive(Clone, Copy)]
struct Encoded<'a> {
    bytes: &'a [u8],
    packed: bool,
}

impl Encoded<'_> {
    fn is_path(self) -> bool {
        match self.packed {
            false => self.bytes == b":path",
            // The codec refuses padding that is too long.
            true => self
                .bytes
                .strip_prefix(&PACKED_PATH)
                .is_some_and(|padding| padding.iter().all(|byte| *byte == 0xff)),
        }
    }

    fn has_number_sign(self) -> bool {
        match self.packed {
            false => memchr(b'#', self.bytes).is_some(),
            true => may_have_packed_number_sign(self.bytes) && has_packed_number_sign(self.bytes),
        }
    }
}

fn string(block: &[u8]) -> Result<Option<(Encoded<'_>, &[u8])>, Malformed> {
    let Some(first) = block.first() else { return Ok(None) };
    let packed = first & 0x80 != 0;
    let Some((length, block)) = integer(block, 7)? else { return Ok(None) };
    let string = block.split_at_checked(length);
    Ok(string.map(|(bytes, behind)| (Encoded { bytes, packed }, behind)))
}

/// A number with a prefix of `bits` bits (RFC 7541 section 5.1), of at most five bytes, which is the codec's limit.
fn integer(block: &[u8], bits: u32) -> Result<Option<(usize, &[u8])>, Malformed> {
    let Some((first, mut rest)) = block.split_first() else { return Ok(None) };
    let most = (1_usize << bits) - 1;
    let mut number = usize::from(*first) & most;
    if number < most {
        return Ok(Some((number, rest)));
    }
    for shift in [0, 7, 14, 21] {
        let Some((byte, behind)) = rest.split_first() else { return Ok(None) };
        rest = behind;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((number, rest)));
        }
    }
    Err(Malformed)
}

/// Quick check: the code of `#` begins with nine ones, and few texts have that many in a row.
fn may_have_packed_number_sign(packed: &[u8]) -> bool {
    let meet = |pair: &[u8]| pair[0].trailing_ones() + pair[1].leading_ones() >= 9;
    packed.contains(&0xff) || packed.windows(2).any(meet)
}

/// By length in bits, how many symbols have a code of that length (RFC 7541 appendix B). The code is canonical, so this is enough to
/// find where each code ends.
const SYMBOLS: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];

/// `#`, of 12 bits.
const NUMBER_SIGN: (usize, u32) = (12, 0xffa);

fn has_packed_number_sign(packed: &[u8]) -> bool {
    let (mut length, mut code, mut first) = (0, 0_u32, 0_u32);
    let bits =
        packed.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    for bit in bits {
        length += 1;
        code = code << 1 | bit;
        first <<= 1;
        let symbols = SYMBOLS.get(length).copied().unwrap_or_default();
        if code < first + symbols {
            if (length, code) == NUMBER_SIGN {
                return true;
            }
            (length, code, first) = (0, 0, 0);
        } else if length >= SYMBOLS.len() {
            // No such code: the codec ends the connection.
            return true;
        } else {
            first += symbols;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH_RAW: u8 = 0x44;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn text(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).expect("short")], text].concat()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        [&[0x80 | u8::try_from(bytes.len()).expect("short")], bytes].concat()
    }

    /// Which of `blocks`, sent on streams 1, 3, 5 and so on, have a fragment.
    fn found(blocks: &[Vec<u8>]) -> Vec<bool> {
        let frames = |blocks: &[Vec<u8>]| -> Vec<u8> {
            let streams = (1_u32..).step_by(2);
            let each = blocks.iter().zip(streams);
            each.flat_map(|(block, stream)| frame(HEADERS, END_HEADERS, stream, block)).collect()
        };
        let bytes = [&[b'x'; PREFACE_BYTES][..], &frame(4, 0, 0, &[]), &frames(blocks)].concat();
        let judge = |pieces: &[&[u8]]| -> Vec<bool> {
            let targets = Targets::new();
            pieces.iter().for_each(|piece| targets.follow(piece));
            (1_u32..).step_by(2).take(blocks.len()).map(|id| targets.has_fragment(id)).collect()
        };
        let whole = judge(&[&bytes]);
        for cut in 0..bytes.len() {
            assert_eq!(judge(&[&bytes[..cut], &bytes[cut..]]), whole, "{cut}");
        }
        whole
    }

    #[test]
    fn a_number_sign_is_found_however_it_is_encoded() {
        // RFC 7541 appendix B: 011000 00011 111111111010 100011, and padding.
        let (hash, other) = (pack("/a#b"), pack("/a>b"));
        assert_eq!(hash, [0x60, 0x7f, 0xf5, 0x1f]);
        let table: [(Vec<u8>, bool); 12] = [
            ([&[PATH_RAW][..], &text(b"/a#b")].concat(), true),
            ([&[PATH_RAW][..], &text(b"/a%23b")].concat(), false),
            ([&[0x04][..], &text(b"/#")].concat(), true),
            ([&[0x15][..], &text(b"/#")].concat(), true),
            ([&[PATH_RAW][..], &packed(&hash)].concat(), true),
            ([&[PATH_RAW][..], &packed(&other)].concat(), false),
            ([&[0x40][..], &text(b":path"), &text(b"/#")].concat(), true),
            ([&[0x10][..], &packed(&PACKED_PATH), &packed(&hash)].concat(), true),
            ([&[0x40][..], &text(b"referer"), &text(b"/#")].concat(), false),
            // `:authority`, and an update of the table's size.
            ([&[0x3f, 0xe1, 0x1f, 0x41][..], &text(b"a#b"), &[0x84]].concat(), false),
            (vec![0x84, 0x82, 0x86], false),
            (Vec::new(), false),
        ];
        for (block, expected) in table {
            assert_eq!(found(std::slice::from_ref(&block)), [expected], "{}", block.escape_ascii());
        }
    }

    #[test]
    fn an_indexed_path_is_found_when_it_is_referenced() {
        let marked = [&[PATH_RAW][..], &text(b"/a#b")].concat();
        let other = [&[0x40][..], &text(b"x"), &text(b"#")].concat();
        let by_name = |index: u8, value: &[u8]| [&[0x40 | index][..], &text(value)].concat();
        // Entry 62 is the newest.
        assert_eq!(found(&[marked.clone(), vec![0xbe]]), [true, true]);
        assert_eq!(
            found(&[marked.clone(), other.clone(), vec![0xbe], vec![0xbf]]),
            [true, false, false, true]
        );
        // A literal may reference only the name of an entry.
        assert_eq!(
            found(&[marked.clone(), by_name(62, b"/b"), by_name(62, b"/#"), vec![0xbf]]),
            [true, false, true, false]
        );
        // A literal that is never indexed adds no entry.
        let never = [&[0x14][..], &text(b"/#")].concat();
        assert_eq!(found(&[other, never, vec![0xbe]]), [false, true, false]);
    }

    #[test]
    fn padding_priority_and_continuation_are_skipped() {
        let field = [&[PATH_RAW][..], &text(b"/a#b")].concat();
        let padded = [&[3, 0, 0, 0, 0, 9][..], &field, b"\x44\x02#"].concat();
        for frames in [
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 1, &padded),
            [frame(HEADERS, 0, 1, &field[..2]), frame(CONTINUATION, END_HEADERS, 1, &field[2..])]
                .concat(),
            [frame(HEADERS, 0, 1, &field), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
            [frame(0, 0, 1, &field), frame(HEADERS, END_HEADERS, 1, &field)].concat(),
        ] {
            let targets = Targets::new();
            targets.follow(&[b'x'; PREFACE_BYTES]);
            targets.follow(&frames);
            assert!(targets.has_fragment(1), "{}", frames.escape_ascii());
            assert!(!targets.has_fragment(3));
        }
    }

    #[test]
    fn after_a_block_that_only_one_side_reads_every_request_is_refused() {
        let field = [&[0x40][..], &text(b"x"), &text(b"y")].concat();
        let dependent = |on: u32| [&on.to_be_bytes()[..], &[0], &field].concat();
        let flags = END_HEADERS | PRIORITY;
        let padded = [&[0][..], &dependent(3)].concat();
        let promise = [&9_u32.to_be_bytes()[..], &field].concat();
        let table = [
            (frame(HEADERS, flags, 3, &dependent(3)), true),
            // The codec resets a stream number that no client may use, and continues.
            (frame(HEADERS, flags, 0x7fff_fffc, &dependent(0x7fff_fffc)), true),
            (frame(HEADERS, flags, 3, &dependent(3 | 1 << 31)), true),
            (frame(HEADERS, flags | PADDED, 3, &padded), true),
            (frame(HEADERS, PRIORITY, 3, &dependent(3)), true),
            (frame(PUSH_PROMISE, END_HEADERS, 3, &promise), true),
            (frame(HEADERS, flags, 3, &dependent(0)), false),
            (frame(HEADERS, flags, 3, &dependent(1)), false),
        ];
        for (frames, is_lost) in table {
            for cut in 0..frames.len() {
                let targets = Targets::new();
                targets.follow(&[b'x'; PREFACE_BYTES]);
                targets.follow(&frame(HEADERS, END_HEADERS, 1, &[0x84]));
                targets.follow(&frames[..cut]);
                targets.follow(&frames[cut..]);
                targets.follow(&frame(HEADERS, END_HEADERS, 5, &[0x84]));
                assert_eq!(targets.has_fragment(1), is_lost);
                assert_eq!(targets.has_fragment(5), is_lost, "{}", frames.escape_ascii());
            }
        }
    }

    #[test]
    fn after_a_malformed_block_every_request_is_refused() {
        let good = vec![0x84];
        for block in
            [&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x01][..], &[PATH_RAW, 5, b'/'], &[PATH_RAW], &[0xff]]
        {
            let targets = Targets::new();
            targets.follow(&[b'x'; PREFACE_BYTES]);
            targets.follow(&frame(HEADERS, END_HEADERS, 1, &good));
            assert!(!targets.has_fragment(1));
            targets.follow(&frame(HEADERS, END_HEADERS, 3, block));
            targets.follow(&frame(HEADERS, END_HEADERS, 5, &good));
            assert_eq!([3, 5].map(|stream| targets.has_fragment(stream)), [true, true]);
        }
        let long = frame(HEADERS, END_HEADERS, 1, &[0x84; MAX_FRAME_BYTES + 1]);
        let targets = Targets::new();
        targets.follow(&[&[b'x'; PREFACE_BYTES][..], &long[..100]].concat());
        assert!(targets.has_fragment(1));
    }

    proptest::proptest! {
        /// Literals with the name of a static or a dynamic entry.
        #[test]
        fn encoded_paths_are_read(paths in proptest::collection::vec("/[a-z#>&Z?~]{0,12}", 1..30)) {
            let expected: Vec<bool> = paths.iter().map(|path| path.contains('#')).collect();
            let blocks: Vec<Vec<u8>> = paths.iter().enumerate().map(|(at, path)| {
                // Every second one references the name of a dynamic entry.
                let name = if at % 2 == 1 { 62 } else { 4 };
                [&[0x40 | name][..], &packed(&pack(path))].concat()
            }).collect();
            proptest::prop_assert_eq!(found(&blocks), expected);
        }
    }

    /// Huffman code of the characters above.
    fn pack(text: &str) -> Vec<u8> {
        let mut bits = String::new();
        for c in text.chars() {
            bits += match c {
                'a' => "00011",
                'c' => "00100",
                'e' => "00101",
                'i' => "00110",
                'o' => "00111",
                's' => "01000",
                't' => "01001",
                '/' => "011000",
                'b' => "100011",
                'd' => "100100",
                'f' => "100101",
                'g' => "100110",
                'h' => "100111",
                'l' => "101000",
                'm' => "101001",
                'n' => "101010",
                'p' => "101011",
                'r' => "101100",
                'u' => "101101",
                'j' => "1110100",
                'k' => "1110101",
                'q' => "1110110",
                'v' => "1110111",
                'w' => "1111000",
                'x' => "1111001",
                'y' => "1111010",
                'z' => "1111011",
                '&' => "11111000",
                'Z' => "11111101",
                '?' => "1111111100",
                '#' => "111111111010",
                '>' => "111111111011",
                '~' => "1111111111101",
                _ => unreachable!(),
            };
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let bytes = bits.as_bytes().chunks(8);
        let byte = |bits: &[u8]| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        bytes.map(byte).collect()
    }
}
