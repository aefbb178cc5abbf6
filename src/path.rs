//! The normalised copy of a request path: what any server behind the gate could take the path for.
//!
//! [`readings`] answers with the copies a dashboard might route by: undecoded, percent-decoded once, and twice; each with
//! `\` as `/`, `;parameters` dropped, repeated slashes merged (or not, where that leads elsewhere), dot segments removed
//! (RFC 3986 section 5.2.4) and in ASCII lower case. What is forwarded is always the path as sent; the copies only decide whose it is and which rule matches.
//! A plain path costs one pass over its bytes and no allocation.

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

/// The normalised copies of one path, least decoded first.
#[derive(Debug)]
pub struct Readings<'a> {
    plain: Option<&'a [u8]>,
    copies: Vec<Vec<u8>>,
}

impl Readings<'_> {
    /// Whether the path as sent is its own normal form but for letter case.
    pub fn is_plain(&self) -> bool {
        self.plain.is_some()
    }

    /// Whether any copy satisfies `test`. A plain path is passed as sent, so `test` compares without regard to ASCII case.
    pub fn any(&self, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        self.plain.is_some_and(&mut test) || self.copies.iter().any(|copy| test(copy))
    }
}

/// The copies of `path` that a server could route by.
///
/// # Errors
/// [`Malformed`], when the path as sent is not one that any server should see.
pub fn readings(path: &str) -> Result<Readings<'_>, Malformed> {
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
    // A broken escape in the second round may be an honest `%25`: it stands for itself.
    let (twice, _) = decode(&once);
    let decodings = [bytes.to_vec(), dots_decoded(bytes), once, twice];
    // Without a `..`, each leniency only brings readings closer together, and the most lenient one stands for all.
    let strict = decodings.iter().any(|decoding| decoding.windows(2).any(|pair| pair == b".."));
    let reader = if strict { &READERS[..] } else { &READERS[..1] };
    let copies = decodings.iter().flat_map(|path| reader.iter().map(|reader| reader.read(path)));
    Ok(Readings { plain: None, copies: copies.collect() })
}

/// What a server does to a path before it removes dot segments. A `..` takes the segment before it away, so each habit alone
/// can lead elsewhere than all together.
struct Reader {
    drops_parameters: bool,
    merges_slashes: bool,
    turns_backslashes: bool,
}

/// Every kind, the most lenient first.
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

/// One round of percent-decoding, and whether an escape was broken; a broken one stands for itself.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn last_reading(path: &str) -> String {
        let readings = readings(path).expect("well-formed");
        let (_, twice) = (readings.plain, decode(&decode(path.as_bytes()).0).0);
        let last = readings.plain.map_or_else(|| READERS[0].read(&twice), <[u8]>::to_vec);
        assert!(readings.plain.is_some() || readings.copies.contains(&last), "{path}");
        String::from_utf8_lossy(&last).into_owned()
    }

    #[test]
    fn a_path_is_read_as_the_most_lenient_server_would() {
        let table = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b", "/a/b"),
            ("//a", "/a"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/../../a", "/a"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%2fb", "/a/b"),
            ("/a%5Cb", "/a/b"),
            ("/a%255cb", "/a/b"),
            ("/a%252fb", "/a/b"),
            ("/a%25252fb", "/a%2fb"),
            ("/a;x=1/b;y", "/a/b"),
            ("/a/;/b", "/a/b"),
            ("/%41%42", "/ab"),
            ("/a%25zz", "/a%zz"),
            ("/a/.b", "/a/.b"),
            ("/a/b/.", "/a/b/"),
        ];
        for (sent, read) in table {
            assert_eq!(last_reading(sent), read, "{sent}");
        }
    }

    #[test]
    fn what_no_server_should_see_is_named() {
        let table = [
            ("/%", Malformed::Escape),
            ("/%4", Malformed::Escape),
            ("/%zz", Malformed::Escape),
            ("/%+1", Malformed::Escape),
            ("/a%00", Malformed::Nul),
            ("/a#b", Malformed::Character),
            ("/a\\b", Malformed::Character),
        ];
        for (sent, fault) in table {
            assert_eq!(readings(sent).map(|_| ()), Err(fault), "{sent}");
        }
    }

    #[test]
    fn a_plain_path_is_borrowed() {
        assert!(readings("/d/AbC/my-dashboard.json").expect("plain").plain.is_some());
    }
}
