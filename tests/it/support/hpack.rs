//! Minimal HPACK (RFC 7541): encodes fields as plain literals, decodes fields without a dynamic table.

/// A field's name and its value's bytes.
pub(crate) type Field = (String, Vec<u8>);

/// Encodes every field as a literal without indexing and without Huffman, even if it is invalid.
pub(crate) fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_ref());
        string(&mut block, value.as_ref());
    }
    block
}

fn string(block: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        block.push(text.len() as u8);
    } else {
        block.push(127);
        let mut left = text.len() - 127;
        while left >= 128 {
            block.push((left % 128) as u8 | 128);
            left /= 128;
        }
        block.push(left as u8);
    }
    block.extend_from_slice(text);
}

/// Decodes a block from an encoder without a dynamic table (`SETTINGS_HEADER_TABLE_SIZE` 0).
pub(crate) fn decode(block: &[u8]) -> Vec<Field> {
    let mut rest = block;
    let mut fields = Vec::new();
    while let Some(&first) = rest.first() {
        if first & 0x80 != 0 {
            let (name, value) = STATIC[number(&mut rest, 7) - 1];
            fields.push((name.to_owned(), value.into()));
        } else if first & 0xe0 == 0x20 {
            assert_eq!(number(&mut rest, 5), 0, "a table that was not asked for");
        } else {
            let index = number(&mut rest, if first & 0x40 != 0 { 6 } else { 4 });
            let name = match index {
                0 => String::from_utf8(text(&mut rest)).expect("a name"),
                index => STATIC[index - 1].0.to_owned(),
            };
            fields.push((name, text(&mut rest)));
        }
    }
    fields
}

/// An integer with a prefix of this many bits (RFC 7541 section 5.1).
fn number(rest: &mut &[u8], bits: u32) -> usize {
    let max = (1 << bits) - 1;
    let mut number = usize::from(rest[0]) & max;
    *rest = &rest[1..];
    if number < max {
        return number;
    }
    for shift in (0..).step_by(7) {
        let byte = usize::from(rest[0]);
        *rest = &rest[1..];
        number += (byte & 127) << shift;
        if byte & 128 == 0 {
            break;
        }
    }
    number
}

fn text(rest: &mut &[u8]) -> Vec<u8> {
    let huffman = rest[0] & 0x80 != 0;
    let length = number(rest, 7);
    let (text, behind) = rest.split_at(length);
    *rest = behind;
    if huffman { unpacked(text) } else { text.to_vec() }
}

/// The code is canonical: the lengths define it (RFC 7541 appendix B).
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut symbols: Vec<usize> = (0..256).collect();
    symbols.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
    let mut text = Vec::new();
    let (mut code, mut length) = (0_u64, 0);
    for bit in packed.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)) {
        code = code << 1 | u64::from(bit);
        length += 1;
        if let Some(symbol) = found(&symbols, code, length) {
            text.push(symbol as u8);
            (code, length) = (0, 0);
        }
    }
    assert!(length < 8 && code + 1 == 1 << length, "padding is not all ones");
    text
}

fn found(symbols: &[usize], code: u64, length: u8) -> Option<usize> {
    let (mut next, mut known) = (0_u64, 0);
    for symbol in symbols {
        next <<= LENGTHS[*symbol] - known;
        known = LENGTHS[*symbol];
        if known > length {
            return None;
        }
        if known == length && next == code {
            return Some(*symbol);
        }
        next += 1;
    }
    None
}

/// The length in bits of the code of each byte.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28,
    28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7,
    8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19,
    13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
    28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21,
    22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
    22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25,
    25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[test]
fn the_examples_of_rfc_7541_are_read() {
    let packed = [
        0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90,
        0xf4, 0xff,
    ];
    let plain = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    let owned = plain.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    assert_eq!(decode(&packed), owned);
    assert_eq!(decode(&encode(&plain)), owned);
}
