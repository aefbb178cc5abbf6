//! The PROXY protocol, versions 1 and 2 (haproxy's `doc/proxy-protocol.txt`): a trusted proxy names its client.
//!
//! The header precedes everything else, including TLS. [`step`] returns how many more bytes certainly belong to the header, and no more
//! are read: the rest belongs to TLS or HTTP. Version 2 costs three reads, version 1 about ten.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// `PROXY UNKNOWN\r\n`, the shortest header.
const SHORTEST_BYTES: usize = 15;
/// The longest line of version 1, with CR and LF (section 2.1).
const MAX_LINE_BYTES: usize = 107;
/// The fixed part of version 2.
const FIXED_BYTES: usize = 16;
/// The longest header of version 2, with TLVs; its length field would allow 64 KiB.
const MAX_BYTES: usize = 4096;

const LINE: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("no PROXY header")]
    Missing,
    #[error("a malformed PROXY header")]
    Malformed,
    #[error("a PROXY header that is too long")]
    TooLong,
}

/// How much of a header was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// At least this many bytes are missing.
    More(usize),
    /// It is complete. `None`: the address of the socket applies (`LOCAL`, `UNKNOWN`, a family other than IP).
    Whole(Option<SocketAddr>),
}

/// Reads a header, and nothing after it.
pub(super) async fn read<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Option<SocketAddr>> {
    let mut header = [0; MAX_BYTES];
    let mut filled = 0;
    loop {
        let step = step(&header[..filled]);
        match step.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))? {
            Step::Whole(client) => return Ok(client),
            Step::More(count) => match from.read(&mut header[filled..filled + count]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            },
        }
    }
}

/// Parses what was read so far.
fn step(header: &[u8]) -> Result<Step, HeaderError> {
    let begins = |with: &[u8]| header.iter().zip(with).all(|(one, other)| one == other);
    match header.len() {
        _ if !begins(LINE) && !begins(SIGNATURE) => Err(HeaderError::Missing),
        few if few < SHORTEST_BYTES => Ok(Step::More(SHORTEST_BYTES - few)),
        _ if begins(LINE) => line(header),
        _ => binary(header),
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n`.
fn line(header: &[u8]) -> Result<Step, HeaderError> {
    if let Some(line) = header.strip_suffix(b"\r\n") {
        let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
        return named(line.split(' ')).map(Step::Whole).ok_or(HeaderError::Malformed);
    }
    // CR and LF occur only at the end of the line: do not wait for more.
    let inner = header.strip_suffix(b"\r").unwrap_or(header);
    if inner.contains(&b'\n') || inner.contains(&b'\r') {
        return Err(HeaderError::Malformed);
    }
    if header.len() >= MAX_LINE_BYTES {
        return Err(HeaderError::TooLong);
    }
    let missing = if inner.len() < header.len() { 1 } else { 2 + missing_fields(header) };
    Ok(Step::More(missing.min(MAX_LINE_BYTES - header.len())))
}

/// The least number of bytes of the missing fields: a space and a character each.
fn missing_fields(header: &[u8]) -> usize {
    let is_known = header.starts_with(b"PROXY TCP");
    let spaces = header.iter().filter(|byte| **byte == b' ').count();
    if is_known { 2 * 5_usize.saturating_sub(spaces) } else { 0 }
}

/// The client of a line; the outer `None`: it is malformed.
#[allow(clippy::option_option, reason = "no client and a malformed line are different")]
fn named<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Option<SocketAddr>> {
    let mut next = || words.next();
    next()?;
    let family = next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, destination, port, own_port) = (next()?, next()?, next()?, next()?);
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    address(destination)?;
    self::port(own_port)?;
    let client = SocketAddr::new(address(source)?, self::port(port)?);
    next().is_none().then_some(Some(client))
}

/// Decimal digits without a sign or a leading zero.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Version 2: the signature, version and command, family, length, addresses, TLVs, which are skipped.
fn binary(header: &[u8]) -> Result<Step, HeaderError> {
    let Some((fixed, rest)) = header.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Step::More(FIXED_BYTES - header.len()));
    };
    let [command, family] = [fixed[12], fixed[13]];
    // Section 2.2: unassigned values are refused.
    if !matches!(command, 0x20 | 0x21) || family >> 4 > 3 || family & 0xf > 2 {
        return Err(HeaderError::Malformed);
    }
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED_BYTES + length > MAX_BYTES {
        return Err(HeaderError::TooLong);
    }
    if rest.len() < length {
        return Ok(Step::More(length - rest.len()));
    }
    match (command, family) {
        (0x21, 0x11) => pair::<4, 12>(rest).map(Step::Whole),
        (0x21, 0x21) => pair::<16, 36>(rest).map(Step::Whole),
        _ => Ok(Step::Whole(None)),
    }
}

/// The source of a pair of addresses of `N` bytes each; with the ports they take `ALL` bytes.
fn pair<const N: usize, const ALL: usize>(rest: &[u8]) -> Result<Option<SocketAddr>, HeaderError>
where
    IpAddr: From<[u8; N]>,
{
    let all = rest.first_chunk::<ALL>().ok_or(HeaderError::Malformed)?;
    let source = all.first_chunk::<N>().ok_or(HeaderError::Malformed)?;
    let port = u16::from_be_bytes([all[2 * N], all[2 * N + 1]]);
    Ok(Some(SocketAddr::new(IpAddr::from(*source), port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb];

    fn v6() -> Vec<u8> {
        let (source, own): (Ipv6Addr, Ipv6Addr) = (
            "2001:db8::1".parse().expect("an address"),
            "2001:db8::2".parse().expect("an address"),
        );
        [&source.octets()[..], &own.octets(), &[0x12, 0x67, 1, 0xbb]].concat()
    }

    /// Reads a header from `bytes`, which other bytes follow. Returns the client, and the unread bytes.
    async fn taken(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let all = [bytes, b"behind"].concat();
        let mut from = &all[..];
        (read(&mut from).await, from.to_vec())
    }

    #[tokio::test]
    async fn a_header_names_the_client_and_nothing_after_it_is_read() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE_BYTES - 16));
        let tlvs = [&V4[..], &[3, 0, 4, 1, 2, 3, 4, 4, 0, 1, 0]].concat();
        let long_tlv = [&V4[..], &[4, 0x0f, 0], &[0; 0xf00]].concat();
        let (v4, v6_text) = (Some("192.0.2.1:4711"), Some("[2001:db8::1]:4711"));
        let table: [(Vec<u8>, Option<&str>); 18] = [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n".to_vec(), v4),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), Some("1.1.1.1:1")),
            (
                b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_vec(),
                Some("255.255.255.255:65535"),
            ),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 0 0\r\n".to_vec(), Some("192.0.2.1:0")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n".to_vec(), v6_text),
            (b"PROXY TCP6 :: :: 1 1\r\n".to_vec(), Some("[::]:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (longest.into_bytes(), None),
            (binary(0x21, 0x11, &V4), v4),
            (binary(0x21, 0x11, &tlvs), v4),
            (binary(0x21, 0x11, &long_tlv), v4),
            (binary(0x21, 0x21, &v6()), v6_text),
            (binary(0x20, 0x11, &V4), None),
            (binary(0x20, 0, &[]), None),
            (binary(0x21, 0, &[1, 2, 3]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
            (binary(0x21, 0x12, &V4), None),
        ];
        for (bytes, expected) in table {
            let (client, left) = taken(&bytes).await;
            let shown = bytes.escape_ascii();
            let client = client.unwrap_or_else(|error| panic!("{shown}: {error}"));
            assert_eq!(client.map(|client| client.to_string()).as_deref(), expected, "{shown}");
            assert_eq!(left, b"behind", "{shown}");
        }
    }

    #[tokio::test]
    async fn anything_but_a_header_is_refused() {
        let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE_BYTES - 15));
        let table: [(Vec<u8>, HeaderError); 29] = [
            (b"GET / HTTP/1.1\r\n".to_vec(), HeaderError::Missing),
            (b"PRI * HTTP/2.0\r\n\r\n".to_vec(), HeaderError::Missing),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(), HeaderError::Missing),
            (b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), HeaderError::Missing),
            (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), HeaderError::Missing),
            (b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n  ".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.x 1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 ::1 ::1 4711 443\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 -1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 1.1.1.1 1.1.1.\xff 1 1\r\n".to_vec(), HeaderError::Malformed),
            (too_long.into_bytes(), HeaderError::TooLong),
            (binary(0x22, 0x11, &V4), HeaderError::Malformed),
            (binary(0x11, 0x11, &V4), HeaderError::Malformed),
            (binary(0x21, 0x41, &V4), HeaderError::Malformed),
            (binary(0x21, 0x13, &V4), HeaderError::Malformed),
            (binary(0x21, 0x11, &V4[..11]), HeaderError::Malformed),
            (binary(0x21, 0x11, &[0; MAX_BYTES - FIXED_BYTES + 1]), HeaderError::TooLong),
        ];
        for (bytes, expected) in table {
            let error = taken(&bytes).await.0.expect_err(&bytes.escape_ascii().to_string());
            let fault = error.get_ref().and_then(|error| error.downcast_ref::<HeaderError>());
            assert_eq!(fault, Some(&expected), "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn an_incomplete_header_is_an_error() {
        for whole in [&b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n"[..], &binary(0x21, 0x11, &V4)] {
            for cut in 0..whole.len() {
                let mut from = &whole[..cut];
                let error = read(&mut from).await.expect_err("cut short");
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_step_never_exceeds_the_longest_header(bytes: Vec<u8>, kind in 0..3_u8) {
            let begin = match kind { 0 => &b""[..], 1 => LINE, _ => SIGNATURE };
            let header = [begin, &bytes].concat();
            for end in 0..=header.len().min(MAX_BYTES) {
                match step(&header[..end]) {
                    Ok(Step::More(count)) => proptest::prop_assert!(count > 0 && end + count <= MAX_BYTES),
                    Ok(Step::Whole(_)) | Err(_) => break,
                }
            }
        }
    }
}
