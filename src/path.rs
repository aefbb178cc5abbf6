//! The readings of a request path: all paths that a server behind the gate could take it for.
//!
//! A server may route by the path undecoded, with only `%2e` decoded, or percent-decoded once or twice; each with or without reading `\`
//! as `/`, dropping `;parameters`, and merging repeated slashes; always with dot segments removed (RFC 3986 section 5.2.4) and in ASCII
//! lower case. The path is forwarded as sent; its readings only decide how it is routed and which rule matches.
//!
//! A plain path costs one pass over its bytes and no allocation. For any other path, [`Readings::any_below`] covers all readings in one
//! more pass: it does not write them out, but tracks the depth of each, and how much of a prefix it matches.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memrchr};

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// `%` that is not followed by two hexadecimal digits.
    #[error("the path has a % that is not followed by two hexadecimal digits; send it as %25")]
    Escape,
    /// A NUL byte, plain or as `%00`.
    #[error("the path contains a NUL byte")]
    Nul,
    /// `#` or `\` without percent-encoding.
    #[error("the path contains a # or \\ that is not percent-encoded")]
    Character,
}

/// The readings of one path.
#[derive(Debug)]
pub struct Readings<'a> {
    path: &'a [u8],
    /// The decodings that differ from each other; empty for a plain path.
    decodings: &'static [Decoding],
    /// Upper bound of the dots in any decoding: the number of `.`, `%2e` and `%25`.
    dots: usize,
}

/// How a server decodes a path.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Decoding {
    AsSent,
    /// Only `%2e`, as browsers do before they remove dot segments (WHATWG URL, "double-dot URL path segment").
    Dots,
    Once,
    Twice,
}

/// The readings of `path`.
///
/// # Errors
/// [`Malformed`], if the path must not be forwarded.
pub fn readings(path: &str) -> Result<Readings<'_>, Malformed> {
    let path = path.as_bytes();
    if is_plain(path) {
        return Ok(Readings { path, decodings: &[], dots: 0 });
    }
    if memchr2(b'#', b'\\', path).is_some() {
        return Err(Malformed::Character);
    }
    let (mut nul, mut escapes, mut dots, mut percents) = (memchr(0, path).is_some(), 0, 0, 0);
    for at in memchr_iter(b'%', path) {
        let value = path[at + 1..].first_chunk().and_then(hex).ok_or(Malformed::Escape)?;
        nul |= value == 0;
        escapes += 1;
        dots += usize::from(value == b'.');
        percents += usize::from(value == b'%');
    }
    if nul {
        return Err(Malformed::Nul);
    }
    use Decoding::{AsSent, Dots, Once, Twice};
    let decodings: &[Decoding] = match (dots > 0, percents > 0) {
        _ if escapes == 0 => &[AsSent],
        (true, true) => &[AsSent, Dots, Once, Twice],
        (true, false) if dots < escapes => &[AsSent, Dots, Once],
        (false, true) => &[AsSent, Once, Twice],
        (_, false) => &[AsSent, Once],
    };
    dots += percents + memchr_iter(b'.', path).count();
    Ok(Readings { path, decodings, dots })
}

impl Readings<'_> {
    /// Whether the path as sent is its only reading, apart from letter case.
    pub fn is_plain(&self) -> bool {
        self.decodings.is_empty()
    }

    /// Whether any reading equals one of `prefixes`, or is below it.
    pub fn any_below<const N: usize>(&self, prefixes: &[Prefix; N]) -> bool {
        if self.is_plain() {
            return prefixes.iter().any(|prefix| prefix.holds(self.path));
        }
        let mut kept = [Kept { depth: [0; 8], matched: [[0; 8]; N], steps: 0 }; 4];
        let mut walk = Walk::new(prefixes, &mut kept[..self.decodings.len()]);
        self.pass(&mut walk);
        walk.is_below()
    }

    /// Whether any reading satisfies `test`. A plain path is passed as sent, so `test` must ignore ASCII case.
    ///
    /// Writes out every reading, at up to 32 times the cost of the path. Use [`Readings::any_below`] where possible.
    pub fn any(&self, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        if self.is_plain() {
            return test(self.path);
        }
        let mut reading = Vec::new();
        self.decodings.iter().any(|how| {
            let path = how.decode(self.path);
            let habits = habits_that_matter(&path);
            (0..8).filter(|reader| reader & !habits == 0).any(|reader| {
                read(&path, reader, &mut reading);
                test(&reading)
            })
        })
    }

    /// Takes all readers through the path, until no `..` can change the prefixes that they are below.
    fn pass<const N: usize>(&self, walk: &mut Walk<'_, N>) {
        let deepest = walk.prefixes.iter().map(|prefix| prefix.segments.len()).max().unwrap_or(0);
        // Every reading has at least `shallowest` segments, and at most `dots / 2` segments `..` follow.
        let (mut shallowest, mut dots) = (0_usize, self.dots);
        let mut no_slash_yet = !self.path.starts_with(b"/");
        let mut rest = Some(self.path.strip_prefix(b"/").unwrap_or(self.path));
        let mut buffers = Buffers::default();
        // Names that every reader keeps, and that are not counted yet: a `..` removes one at no cost.
        let mut names = 0_usize;
        while shallowest < deepest + dots / 2 && rest.is_some() {
            if names > 0 && rest.is_some_and(|rest| rest.starts_with(b"/")) {
                walk.deepen(&ALL, std::mem::take(&mut names));
            }
            let (segment, signs) = walk.next_segment(&mut rest);
            let is_bare = std::mem::take(&mut no_slash_yet);
            if segment == b".." {
                dots -= 2;
                shallowest = shallowest.saturating_sub(1);
                match names.checked_sub(1) {
                    Some(fewer) => names = fewer,
                    None => walk.climb(&ALL),
                }
                continue;
            }
            // With such a first byte, every reader keeps a name here before any `..`.
            shallowest += usize::from(!matches!(segment.first(), None | Some(b'.' | b'%' | b';')));
            if signs == 0 && walk.shapes & shape(segment) == 0 && !segment.is_empty() {
                names += 1;
                continue;
            }
            if names > 0 {
                walk.deepen(&ALL, std::mem::take(&mut names));
            }
            let dots_here = if signs & ESCAPE != 0 {
                walk.escaped(self.decodings, segment, signs, is_bare, &mut buffers)
            } else {
                walk.segment(segment, signs);
                segment.iter().filter(|byte| **byte == b'.').count()
            };
            dots -= dots_here;
            shallowest = shallowest.saturating_sub(dots_here / 2);
        }
    }
}

/// A path prefix such as `/api/licensing`. Its segments are neither empty nor dot segments.
#[derive(Clone, Debug)]
pub struct Prefix {
    text: Vec<u8>,
    segments: Vec<Vec<u8>>,
    /// The [`shape`]s of the segments.
    shapes: u64,
}

impl Prefix {
    /// `text` starts with a slash and does not end in one.
    pub fn new(text: &str) -> Self {
        let segments: Vec<_> =
            text.split('/').skip(1).map(|segment| segment.as_bytes().to_vec()).collect();
        let shapes = segments.iter().fold(0, |bits, segment| bits | shape(segment));
        Self { text: text.as_bytes().to_vec(), segments, shapes }
    }

    /// Whether `path` equals this prefix or is below it, ignoring ASCII case.
    fn holds(&self, path: &[u8]) -> bool {
        path.split_at_checked(self.text.len()).is_some_and(|(head, rest)| {
            head.eq_ignore_ascii_case(&self.text) && matches!(rest.first(), None | Some(b'/'))
        })
    }
}

/// A one-bit hash of a name, by length and first byte, that ignores ASCII case.
fn shape(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, |byte| usize::from(byte | 0x20));
    1 << ((name.len() * 8 + first) % 64)
}

// What a server may do to a path before it removes dot segments. A `..` removes the segment before it, so each combination of these
// habits can lead to a different path. The number of a reader has a bit for each habit that it lacks.
const NO_PARAMETERS_DROPPED: usize = 1;
const NO_SLASHES_MERGED: usize = 2;
const NO_BACKSLASHES_TURNED: usize = 4;

/// A number for each of the eight readers.
type PerReader = [u16; 8];

const ALL: PerReader = [1; 8];
const DROPS_PARAMETERS: PerReader = readers(NO_PARAMETERS_DROPPED, 0);
const KEEPS_PARAMETERS: PerReader = readers(NO_PARAMETERS_DROPPED, NO_PARAMETERS_DROPPED);
const KEEPS_EMPTY: PerReader = readers(NO_SLASHES_MERGED, NO_SLASHES_MERGED);
const TURNS_BACKSLASHES: PerReader = readers(NO_BACKSLASHES_TURNED, 0);
const KEEPS_BACKSLASHES: PerReader = readers(NO_BACKSLASHES_TURNED, NO_BACKSLASHES_TURNED);

/// 1 for each reader that has exactly `bits` among the bits of `habits`.
const fn readers(habits: usize, bits: usize) -> PerReader {
    let mut chosen = [0; 8];
    let mut reader = 0;
    while reader < chosen.len() {
        chosen[reader] = (reader & habits == bits) as u16;
        reader += 1;
    }
    chosen
}

fn both(some: &PerReader, others: &PerReader) -> PerReader {
    std::array::from_fn(|reader| some[reader] & others[reader])
}

/// The segments that the eight readers of one decoding have kept so far.
#[derive(Clone, Copy)]
struct Kept<const N: usize> {
    depth: PerReader,
    /// How many segments of each prefix the kept ones start with.
    matched: [PerReader; N],
    /// How many times this was changed: the cost of a path.
    steps: usize,
}

/// The state of the readers of some decodings within a path.
struct Walk<'a, const N: usize> {
    prefixes: &'a [Prefix; N],
    /// [`Prefix::shapes`] of all.
    shapes: u64,
    kept: &'a mut [Kept<N>],
}

/// One segment, decoded.
#[derive(Default)]
struct Buffers {
    dots: Vec<u8>,
    once: Vec<u8>,
    twice: Vec<u8>,
}

impl<'a, const N: usize> Walk<'a, N> {
    fn new(prefixes: &'a [Prefix; N], kept: &'a mut [Kept<N>]) -> Self {
        let shapes = prefixes.iter().fold(0, |bits, prefix| bits | prefix.shapes);
        Self { prefixes, shapes, kept }
    }

    fn of(&mut self, decodings: Range<usize>) -> Walk<'_, N> {
        Walk { kept: &mut self.kept[decodings], ..*self }
    }

    fn is_below(&self) -> bool {
        self.kept.iter().any(|kept| {
            kept.matched.iter().zip(self.prefixes).any(|(matched, prefix)| {
                matched.iter().any(|count| usize::from(*count) == prefix.segments.len())
            })
        })
    }

    /// Takes the next segment off `rest`, and returns it with its signs. Counts empty segments before it.
    #[inline]
    fn next_segment<'t>(&mut self, rest: &mut Option<&'t [u8]>) -> (&'t [u8], u8) {
        let mut text = rest.take().unwrap_or_default();
        if text.first() == Some(&b'/') {
            let slashes = text.iter().take_while(|byte| **byte == b'/').count();
            self.deepen(&KEEPS_EMPTY, slashes);
            text = &text[slashes..];
        }
        let mut signs = 0;
        for (at, byte) in text.iter().enumerate() {
            let sign = SIGNS[usize::from(*byte)];
            if sign == SLASH {
                *rest = Some(&text[at + 1..]);
                return (&text[..at], signs);
            }
            signs |= sign;
        }
        (text, signs)
    }

    /// Handles a segment of the path as sent that has escapes. Returns its part of [`Readings::dots`].
    fn escaped(
        &mut self,
        decodings: &[Decoding],
        segment: &[u8],
        signs: u8,
        is_bare: bool,
        Buffers { dots, once, twice }: &mut Buffers,
    ) -> usize {
        let unescaped = unescape(segment, once, |_| true);
        // `decodings` is ordered: before `own`, the segment is as sent; from `full` on, it is fully decoded.
        let has_dots = decodings.get(1) == Some(&Decoding::Dots);
        let full = 1 + usize::from(has_dots);
        let is_twice = decodings.len() > full + 1;
        let (own, full) = match unescaped.dots {
            0 => (full, full),
            dots if dots == unescaped.escapes => (1, 1),
            _ => (1, full),
        };
        self.of(0..own).segment(segment, signs);
        if own < full {
            let signs = unescape(segment, dots, |value| value == b'.').signs;
            self.of(own..full).segment(dots, signs);
        }
        let is_rooted = is_bare && once.first() == Some(&b'/');
        let mut is_bare = is_bare && !is_rooted;
        let text = &once[usize::from(is_rooted)..];
        let mut others = self.of(full..decodings.len());
        if !is_twice || unescaped.signs & ESCAPE == 0 {
            others.segments(text, unescaped.signs);
            return unescaped.dots_to_come;
        }
        let mut rest = Some(text);
        while rest.is_some() {
            let (segment, signs) = others.next_segment(&mut rest);
            if signs & ESCAPE == 0 {
                others.segment(segment, signs);
            } else {
                let last = others.kept.len() - 1;
                others.of(0..last).segment(segment, signs);
                let signs = unescape(segment, twice, |_| true).signs;
                let is_rooted = is_bare && twice.first() == Some(&b'/');
                others.of(last..last + 1).segments(&twice[usize::from(is_rooted)..], signs);
            }
            is_bare = false;
        }
        unescaped.dots_to_come
    }

    /// Handles text that may contain slashes.
    #[inline]
    fn segments(&mut self, text: &[u8], signs: u8) {
        if signs & SLASH == 0 {
            return self.segment(text, signs);
        }
        let mut rest = Some(text);
        while rest.is_some() {
            let (segment, signs) = self.next_segment(&mut rest);
            self.segment(segment, signs);
        }
    }

    /// Handles the text between two slashes.
    #[inline]
    fn segment(&mut self, segment: &[u8], signs: u8) {
        if signs & (BACKSLASH | PARAMETERS) == 0 {
            return self.name(&ALL, segment);
        }
        if signs & BACKSLASH == 0 {
            return self.parameters(&ALL, segment);
        }
        self.parameters(&KEEPS_BACKSLASHES, segment);
        for segment in segment.split(|byte| *byte == b'\\') {
            self.parameters(&TURNS_BACKSLASHES, segment);
        }
    }

    fn parameters(&mut self, who: &PerReader, segment: &[u8]) {
        match segment.iter().position(|byte| *byte == b';') {
            None => self.name(who, segment),
            Some(end) => {
                self.name(&both(who, &DROPS_PARAMETERS), &segment[..end]);
                self.name(&both(who, &KEEPS_PARAMETERS), segment);
            }
        }
    }

    #[inline]
    fn name(&mut self, who: &PerReader, name: &[u8]) {
        match name {
            b"" => self.deepen(&both(who, &KEEPS_EMPTY), 1),
            b"." => {}
            b".." => self.climb(who),
            _ => {
                if self.shapes & shape(name) != 0 {
                    self.compare(who, name);
                }
                self.deepen(who, 1);
            }
        }
    }

    /// Counts `name` if it continues a prefix.
    fn compare(&mut self, who: &PerReader, name: &[u8]) {
        for (index, prefix) in self.prefixes.iter().enumerate() {
            if prefix.shapes & shape(name) == 0 {
                continue;
            }
            for (at, segment) in (0..).zip(&prefix.segments) {
                if !segment.eq_ignore_ascii_case(name) {
                    continue;
                }
                for kept in &mut *self.kept {
                    kept.steps += 1;
                    let lanes = kept.matched[index].iter_mut().zip(&kept.depth).zip(who);
                    for ((matched, depth), chosen) in lanes {
                        *matched += chosen & u16::from(*depth == at) & u16::from(*matched == at);
                    }
                }
            }
        }
    }

    fn deepen(&mut self, who: &PerReader, levels: usize) {
        // A path has fewer than 65,536 bytes (`http::Uri`).
        let levels = u16::try_from(levels).unwrap_or(u16::MAX);
        for kept in &mut *self.kept {
            kept.steps += 1;
            for (depth, chosen) in kept.depth.iter_mut().zip(who) {
                *depth = depth.saturating_add(chosen * levels);
            }
        }
    }

    fn climb(&mut self, who: &PerReader) {
        for kept in &mut *self.kept {
            kept.steps += 1;
            for (depth, chosen) in kept.depth.iter_mut().zip(who) {
                *depth = depth.saturating_sub(*chosen);
            }
            for matched in &mut kept.matched {
                for (matched, depth) in matched.iter_mut().zip(&kept.depth) {
                    *matched = (*matched).min(*depth);
                }
            }
        }
    }
}

/// Whether `path` is in normal form, apart from letter case.
fn is_plain(path: &[u8]) -> bool {
    let is_odd_pair = |pair: &[u8]| pair[0] == b'/' && matches!(pair[1], b'/' | b'.');
    !path.iter().any(|byte| ODD[usize::from(*byte)]) && !path.windows(2).any(is_odd_pair)
}

/// Bytes with a special meaning to some server.
const ODD: [bool; 256] = {
    let mut odd = [false; 256];
    let mut signs: &[u8] = b"%\\;#\0";
    while let Some((sign, rest)) = signs.split_first() {
        odd[*sign as usize] = true;
        signs = rest;
    }
    odd
};

// Special characters in a segment.
const DOT: u8 = 1;
const ESCAPE: u8 = 2;
const PARAMETERS: u8 = 4;
const SLASH: u8 = 8;
const BACKSLASH: u8 = 16;

const SIGNS: [u8; 256] = {
    let mut signs = [0; 256];
    signs[b'.' as usize] = DOT;
    signs[b'%' as usize] = ESCAPE;
    signs[b';' as usize] = PARAMETERS;
    signs[b'/' as usize] = SLASH;
    signs[b'\\' as usize] = BACKSLASH;
    signs
};

impl Decoding {
    fn decode(self, path: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        match self {
            Self::AsSent => return path.to_vec(),
            Self::Dots => unescape(path, &mut decoded, |value| value == b'.'),
            Self::Once | Self::Twice => unescape(path, &mut decoded, |_| true),
        };
        if matches!(self, Self::Twice) {
            let once = decoded.clone();
            unescape(&once, &mut decoded, |_| true);
        }
        decoded
    }
}

/// The result of one round of percent-decoding.
struct Unescaped {
    /// The signs of the decoded text.
    signs: u8,
    escapes: usize,
    /// How many of the escapes are `%2e`.
    dots: usize,
    /// Bytes of the decoded text that are, or may become in the next round, a dot.
    dots_to_come: usize,
}

/// One round of percent-decoding of the bytes that `which` selects. An invalid escape is kept: in the second round it may be a decoded
/// `%25`.
#[inline]
fn unescape(text: &[u8], decoded: &mut Vec<u8>, which: impl Fn(u8) -> bool) -> Unescaped {
    decoded.clear();
    decoded.reserve(text.len());
    let mut found = Unescaped { signs: 0, escapes: 0, dots: 0, dots_to_come: 0 };
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let (mut byte, mut tail) = (*first, tail);
        if let (b'%', Some((digits, behind))) = (byte, tail.split_first_chunk())
            && let Some(value) = hex(digits).filter(|value| which(*value))
        {
            found.escapes += 1;
            found.dots += usize::from(value == b'.');
            (byte, tail) = (value, behind);
        }
        let sign = SIGNS[usize::from(byte)];
        found.signs |= sign;
        found.dots_to_come += usize::from(sign & (DOT | ESCAPE) != 0);
        decoded.push(byte);
        rest = tail;
    }
    found
}

fn hex(digits: &[u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| HEX[usize::from(digit)]);
    ((high | low) < 16).then_some(high << 4 | low)
}

/// The values of hexadecimal digits; 255 for any other byte.
const HEX: [u8; 256] = {
    let mut values = [255; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// The habits that can change the reading of `path`.
fn habits_that_matter(path: &[u8]) -> usize {
    let has_parameters = memchr(b';', path).is_some();
    let has_backslashes = memchr(b'\\', path).is_some();
    // Parameters and backslashes may also leave empty segments.
    let has_empty = has_parameters
        || has_backslashes
        || path.is_empty()
        || path.ends_with(b"/")
        || path.windows(2).any(|pair| pair == b"//");
    usize::from(has_parameters) * NO_PARAMETERS_DROPPED
        + usize::from(has_empty) * NO_SLASHES_MERGED
        + usize::from(has_backslashes) * NO_BACKSLASHES_TURNED
}

/// Writes the reading of `path` by `reader`.
fn read(path: &[u8], reader: usize, reading: &mut Vec<u8>) {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let turns_backslashes = reader & NO_BACKSLASHES_TURNED == 0;
    reading.clear();
    let mut ends_in_slash = false;
    for segment in path.split(|byte| *byte == b'/' || (turns_backslashes && *byte == b'\\')) {
        let end = if reader & NO_PARAMETERS_DROPPED == 0 { memchr(b';', segment) } else { None };
        let name = &segment[..end.unwrap_or(segment.len())];
        ends_in_slash = matches!(name, b"" | b"." | b"..");
        match name {
            b"" if reader & NO_SLASHES_MERGED == 0 => {}
            b"." => {}
            b".." => reading.truncate(memrchr(b'/', reading).unwrap_or(0)),
            _ => {
                reading.push(b'/');
                reading.extend(name.iter().map(u8::to_ascii_lowercase));
            }
        }
    }
    if ends_in_slash || reading.is_empty() {
        reading.push(b'/');
    }
}

#[cfg(test)]
#[path = "path_oracle.rs"]
mod oracle;
#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
