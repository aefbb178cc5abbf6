//! The size line of a chunk (RFC 9112 section 7.1.1), as strict on the dashboard as on clients.

/// The size that `line`, without its CRLF, announces: `1*HEXDIG` and extensions. White space, signs, sizes of 2^60 and
/// above, and extensions with control characters (a bare CR ends the line to some) are `None`.
pub fn size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extensions) = line.split_at(end);
    let is_hex =
        !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_hexdigit);
    if extensions.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn only_digits_and_extensions_make_a_size() {
        let table =
            [("0", 0), ("1f", 31), ("1F;a=b", 31), ("1;\ta=\"\u{e9}\"", 1), ("000000000000001", 1)];
        for (line, expected) in table {
            assert_eq!(size(line.as_bytes()), Some(expected), "{line}");
        }
        let table = ["", " 1", "1 ", "+1", "-1", "0x1", "1g", ";a", "1000000000000000"];
        for line in table.into_iter().chain(["1;a\rb", "1;\r", "1;\0", "1;\n", "1;\x7f"]) {
            assert_eq!(size(line.as_bytes()), None, "{line}");
        }
    }
}
