//! The readings of a request path: what any server behind the gate could take the path for.
//!
//! A server may route by the path undecoded, with only `%2e` decoded, percent-decoded once, or twice; each with `\` as `/` or
//! not, `;parameters` dropped or not, repeated slashes merged or not; always with dot segments removed (RFC 3986 section
//! 5.2.4) and in ASCII lower case. What is forwarded is the path as sent; the readings only decide whose it is and which rule
//! matches.
//!
//! A plain path costs one pass over its bytes and no allocation. [`Readings::any_below`] judges all readings of any other path
//! in one more pass: it writes none of them out, but keeps for each one how deep it is and how much of a prefix it has.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memrchr};

/// How a path cannot be sent at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// `%` without two hexadecimal digits behind it.
    #[error("the path has a % that two hexadecimal digits do not follow")]
    Escape,
    /// A NUL byte, plain or as `%00`.
    #[error("the path has a NUL byte")]
    Nul,
    /// `#`, or a plain `\`.
    #[error("the path has a # or \\ that is not percent-encoded")]
    Character,
}

/// The readings of one path.
#[derive(Debug)]
pub struct Readings<'a> {
    path: &'a [u8],
    /// The decodings that differ from each other; none when the path is plain.
    decodings: &'static [Decoding],
    /// How many characters of a `..` the decodings have at most: `.`, `%2e` and `%25`.
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
/// [`Malformed`], when the path as sent is not one that any server should see.
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
    /// Whether the path as sent is its only reading but for letter case.
    pub fn is_plain(&self) -> bool {
        self.decodings.is_empty()
    }

    /// Whether any reading is one of `prefixes`, or below it.
    pub fn any_below<const N: usize>(&self, prefixes: &[Prefix; N]) -> bool {
        if self.is_plain() {
            return prefixes.iter().any(|prefix| prefix.holds(self.path));
        }
        let mut kept = [Kept { depth: [0; 8], matched: [[0; 8]; N], steps: 0 }; 4];
        let mut walk = Walk::new(prefixes, &mut kept[..self.decodings.len()]);
        self.pass(&mut walk);
        walk.is_below()
    }

    /// Whether any reading satisfies `test`. A plain path is passed as sent, so `test` compares without regard to ASCII case.
    ///
    /// Every reading is written out, at up to 32 times the cost of the path: ask [`Readings::any_below`] first where it can
    /// answer.
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

    /// Takes all readers through the path, until no `..` can change what any of them is below.
    fn pass<const N: usize>(&self, walk: &mut Walk<'_, N>) {
        let deepest = walk.prefixes.iter().map(|prefix| prefix.segments.len()).max().unwrap_or(0);
        // Every reading is at least `shallowest` deep, and at most `dots / 2` segments `..` are still to come.
        let (mut shallowest, mut dots) = (0_usize, self.dots);
        let mut no_slash_yet = !self.path.starts_with(b"/");
        let mut rest = Some(self.path.strip_prefix(b"/").unwrap_or(self.path));
        let mut buffers = Buffers::default();
        // Plain names that every reader keeps, and that are not passed yet: a `..` takes one back at no cost.
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
            // Whatever follows such a first byte, every reader keeps a name here before it meets a `..`.
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

/// A path that others are below, such as `/api/licensing`; its segments are neither empty nor dot segments.
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

    /// Whether `path` is this prefix or below it, without regard to ASCII case.
    fn holds(&self, path: &[u8]) -> bool {
        path.split_at_checked(self.text.len()).is_some_and(|(head, rest)| {
            head.eq_ignore_ascii_case(&self.text) && matches!(rest.first(), None | Some(b'/'))
        })
    }
}

/// One bit that names without regard to ASCII case share, and most others do not: by length and first byte.
fn shape(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, |byte| usize::from(byte | 0x20));
    1 << ((name.len() * 8 + first) % 64)
}

// What a server does to a path before it removes dot segments. A `..` takes the segment before it away, so each habit alone
// can lead elsewhere than all together. Each of the eight readers is named by the habits it lacks.
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

/// 1 for each reader whose bits of `habits` are `bits`.
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
    /// How many times this was changed: what a path costs.
    steps: usize,
}

/// Readers of some decodings on their way through a path.
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

    /// Takes the next segment off `rest`, and says what is in it. Empty segments before it are passed at once.
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

    /// Passes what lies between two slashes of the path as sent, and has escapes. Returns how much of [`Readings::dots`] it is.
    fn escaped(
        &mut self,
        decodings: &[Decoding],
        segment: &[u8],
        signs: u8,
        is_bare: bool,
        Buffers { dots, once, twice }: &mut Buffers,
    ) -> usize {
        let unescaped = unescape(segment, once, |_| true);
        // `decodings` is in order: those before `own` have the segment as sent, those from `full` on all of it decoded.
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

    /// Passes text that may have slashes in it.
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

    /// Passes what lies between two slashes.
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

    /// Counts `name` where it continues a prefix.
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

/// Whether `path` is its own normal form but for letter case.
fn is_plain(path: &[u8]) -> bool {
    let is_odd_pair = |pair: &[u8]| pair[0] == b'/' && matches!(pair[1], b'/' | b'.');
    !path.iter().any(|byte| ODD[usize::from(*byte)]) && !path.windows(2).any(is_odd_pair)
}

/// Bytes that some server reads as more than themselves.
const ODD: [bool; 256] = {
    let mut odd = [false; 256];
    let mut signs: &[u8] = b"%\\;#\0";
    while let Some((sign, rest)) = signs.split_first() {
        odd[*sign as usize] = true;
        signs = rest;
    }
    odd
};

// What a segment has in it.
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

/// What one round of percent-decoding meets.
struct Unescaped {
    /// Of the decoded text.
    signs: u8,
    escapes: usize,
    /// Those of the escapes that are `%2e`.
    dots: usize,
    /// Bytes of the decoded text that are a dot, or may become one in the next round.
    dots_to_come: usize,
}

/// One round of percent-decoding of what `which` chooses. A broken escape stands for itself: in the second round it may be an
/// honest `%25`.
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

/// The habits whose lack can make a difference to `path`.
fn habits_that_matter(path: &[u8]) -> usize {
    let has_parameters = memchr(b';', path).is_some();
    let has_backslashes = memchr(b'\\', path).is_some();
    // Parameters and backslashes may leave empty segments, too.
    let has_empty = has_parameters
        || has_backslashes
        || path.is_empty()
        || path.ends_with(b"/")
        || path.windows(2).any(|pair| pair == b"//");
    usize::from(has_parameters) * NO_PARAMETERS_DROPPED
        + usize::from(has_empty) * NO_SLASHES_MERGED
        + usize::from(has_backslashes) * NO_BACKSLASHES_TURNED
}

/// Writes what `reader` takes `path` for.
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
