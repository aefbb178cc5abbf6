//! The text of a file somebody edited, copied or mounted: what is not UTF-8 is refused here, with what to do.

use super::rejection::Rejection;
use crate::text::{is_utf_16, trimmed};

/// The text in `bytes`, without a byte order mark and the white space around.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, Rejection> {
    if is_utf_16(bytes) {
        let remedy = "save the file as UTF-8, or as plain ASCII";
        return Err(Rejection::Malformed { what: "it is written in UTF-16", remedy });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Rejection::malformed("it is not text"))?;
    Ok(trimmed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_white_space_around_are_no_part_of_a_text() {
        let cases: [&[u8]; 9] = [
            b"a.b.c",
            b"a.b.c\r\n",
            b"\n\n \ta.b.c\n\n",
            b"\xef\xbb\xbfa.b.c",
            b"\xef\xbb\xbf\r\na.b.c\r\n",
            b"\n\xef\xbb\xbfa.b.c",
            b"\xef\xbb\xbf\xef\xbb\xbfa.b.c",
            b"a.b.c\r\n\xef\xbb\xbf",
            "\u{a0}a.b.c\u{2028}".as_bytes(),
        ];
        for bytes in cases {
            assert_eq!(text_of(bytes), Ok("a.b.c"), "{bytes:?}");
        }
        for empty in [&b""[..], b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"] {
            assert_eq!(text_of(empty), Ok(""));
        }
    }

    #[test]
    fn other_encodings_are_told_apart() {
        let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let utf_16: [Vec<u8>; 4] =
            [little("\u{feff}a.b"), big("\u{feff}a.b"), little("a.b.c"), big("a.b.c")];
        for bytes in utf_16 {
            let said = text_of(&bytes).expect_err("refused").to_string();
            assert!(said.contains("UTF-16: save the file as UTF-8"), "{said}");
        }
        for bytes in [&b"\xe9"[..], b"a.b.c\xff", b"\x1f\x8b\x08\x00"] {
            let said = text_of(bytes).expect_err("refused").to_string();
            assert!(said.contains("not text"), "{said}");
        }
    }
}
