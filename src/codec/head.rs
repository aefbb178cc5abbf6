//! Finds the end of a head, and writes fields.

use memchr::memchr_iter;

/// Why bytes are not a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// A line is terminated by LF without CR: parsers may disagree on where it ends (RFC 9112 section 2.2).
    BareLf,
}

/// The length of a head, including its empty line. `None`: the head is incomplete. Skips the first `scanned` bytes, and updates
/// `scanned`.
///
/// # Errors
/// [`HeadError`], as soon as the bytes have it.
pub fn head_end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, HeadError> {
    let from = *scanned;
    for line_feed in memchr_iter(b'\n', &bytes[from..]) {
        match bytes[..from + line_feed] {
            [.., b'\r', b'\n', b'\r'] => return Ok(Some(from + line_feed + 1)),
            [.., b'\r'] => {}
            _ => return Err(HeadError::BareLf),
        }
    }
    *scanned = bytes.len();
    Ok(None)
}

/// Writes `name: value` and CRLF.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes `number` in decimal digits.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 1024, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn a_head_ends_after_its_empty_line_however_it_is_cut() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\n";
        assert_eq!(head_end(bytes, &mut 0), Ok(Some(27)));
        let mut scanned = 0;
        for cut in 0..27 {
            assert_eq!(head_end(&bytes[..cut], &mut scanned), Ok(None), "{cut}");
        }
        assert_eq!(head_end(&bytes[..27], &mut scanned), Ok(Some(27)));
    }

    #[test]
    fn a_line_without_cr_is_an_error() {
        for bytes in [&b"GET / HTTP/1.1\n"[..], b"\n", b"GET / HTTP/1.1\r\nA: b\r\n\n"] {
            assert_eq!(head_end(bytes, &mut 0), Err(HeadError::BareLf), "{}", bytes.escape_ascii());
        }
    }
}
