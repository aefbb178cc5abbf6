//! The size line of a chunk (RFC 9112 section 7.1.1), as strict on the dashboard as on clients.

/// The most digits of a size.
pub(super) const MAX_DIGITS: usize = 15;

/// The size that `line`, without its CRLF, announces: `1*HEXDIG` and extensions. White space, signs and sizes of 2^60 and
/// above are `None`, control characters in an extension likewise.
pub fn size(line: &[u8]) -> Option<u64> {
    size_and_extensions(line).map(|(size, _)| size)
}

/// The same, and how many bytes its extensions have.
pub(super) fn size_and_extensions(line: &[u8]) -> Option<(u64, usize)> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    let is_hex = !digits.is_empty()
        && digits.len() <= MAX_DIGITS
        && digits.iter().all(u8::is_ascii_hexdigit);
    let is_text = extension.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex && is_text)?;
    u64::from_str_radix(digits, 16).ok().map(|size| (size, extension.len()))
}

#[cfg(test)]
mod tests {
    use super::{size, size_and_extensions};

    #[test]
    fn only_digits_and_extensions_make_a_size() {
        for (line, expected) in
            [("0", 0), ("1f", 31), ("1F;a=b", 31), ("2;a=\"b c\"\t;d", 2), ("000000000000001", 1)]
        {
            assert_eq!(size(line.as_bytes()), Some(expected), "{line}");
        }
        assert_eq!(size_and_extensions(b"1f;a=b"), Some((31, 4)));
        for line in
            ["", " 1", "1 ", "+1", "-1", "0x1", "1g", ";a", "1;\0", "1;\r", "1000000000000000"]
        {
            assert_eq!(size(line.as_bytes()), None, "{line}");
        }
    }
}
