//! A reference classifier for [`super`]: writes out every reading of every decoding, and tests each. Slow, but simple enough to verify by
//! reading it.

use super::Malformed;

/// The normalised copies of one path, least decoded first.
#[derive(Debug)]
pub(super) struct Readings<'a> {
    plain: Option<&'a [u8]>,
    copies: Vec<Vec<u8>>,
}

impl Readings<'_> {
    /// Whether the path as sent is in normal form, apart from letter case.
    pub(super) fn is_plain(&self) -> bool {
        self.plain.is_some()
    }

    /// Whether any copy satisfies `test`. A plain path is passed as sent, so `test` must ignore ASCII case.
    pub(super) fn any(&self, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        self.plain.is_some_and(&mut test) || self.copies.iter().any(|copy| test(copy))
    }
}

/// The copies of `path` that a server could route by.
///
/// # Errors
/// [`Malformed`], if the path must not be forwarded.
pub(super) fn readings(path: &str) -> Result<Readings<'_>, Malformed> {
    let bytes = path.as_bytes();
    if is_plain(bytes) {
        return Ok(Readings { plain: Some(bytes), copies: Vec::new() });
    }
    if bytes.iter().any(|byte| matches!(byte, b'#' | b'\\')) {
        return Err(Malformed::Character);
    }
    let (once, broken) = decode(bytes);
    if broken {
        return Err(Malformed::Escape);
    }
    if once.contains(&0) {
        return Err(Malformed::Nul);
    }
    // An invalid escape in the second round may be a decoded `%25`: it is kept.
    let (twice, _) = decode(&once);
    let decodings = [bytes.to_vec(), dots_decoded(bytes), once, twice];
    let copies = decodings.iter().flat_map(|path| READERS.iter().map(|reader| reader.read(path)));
    Ok(Readings { plain: None, copies: copies.collect() })
}

/// What a server may do to a path before it removes dot segments. A `..` removes the segment before it, so each combination can lead to a
/// different path.
struct Reader {
    drops_parameters: bool,
    merges_slashes: bool,
    turns_backslashes: bool,
}

/// All servers, the most lenient first.
const READERS: [Reader; 8] = {
    const fn reader(habits: u8) -> Reader {
        Reader {
            drops_parameters: habits & 1 == 0,
            merges_slashes: habits & 2 == 0,
            turns_backslashes: habits & 4 == 0,
        }
    }
    [reader(0), reader(1), reader(2), reader(3), reader(4), reader(5), reader(6), reader(7)]
};

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

/// One round of percent-decoding, and whether an escape was invalid; invalid ones are kept.
fn decode(path: &[u8]) -> (Vec<u8>, bool) {
    let mut decoded = Vec::with_capacity(path.len());
    let mut broken = false;
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| tail.first_chunk().and_then(hex));
        broken |= escaped == Some(None);
        match escaped.flatten() {
            Some(value) => {
                decoded.push(value);
                rest = &tail[2..];
            }
            None => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    (decoded, broken)
}

fn hex(digits: &[u8; 2]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(digits[0])? << 4 | value(digits[1])?).ok()
}

/// Only `%2e` decoded, as browsers do before they remove dot segments (WHATWG URL, "double-dot URL path segment").
fn dots_decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let is_dot = rest.get(..3).is_some_and(|escape| escape.eq_ignore_ascii_case(b"%2e"));
        decoded.push(if is_dot { b'.' } else { byte });
        rest = if is_dot { &rest[3..] } else { tail };
    }
    decoded
}

impl Reader {
    fn read(&self, path: &[u8]) -> Vec<u8> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let mut kept: Vec<&[u8]> = Vec::new();
        let mut ends_in_slash = false;
        for segment in
            path.split(|byte| *byte == b'/' || (self.turns_backslashes && *byte == b'\\'))
        {
            let name = if self.drops_parameters {
                segment.split(|byte| *byte == b';').next().unwrap_or_default()
            } else {
                segment
            };
            ends_in_slash = matches!(name, b"" | b"." | b"..");
            match name {
                b"" if self.merges_slashes => {}
                b"." => {}
                b".." => drop(kept.pop()),
                _ => kept.push(name),
            }
        }
        let mut normal = Vec::with_capacity(path.len() + 2);
        for name in &kept {
            normal.push(b'/');
            normal.extend(name.iter().map(u8::to_ascii_lowercase));
        }
        if ends_in_slash || normal.is_empty() {
            normal.push(b'/');
        }
        normal
    }
}
