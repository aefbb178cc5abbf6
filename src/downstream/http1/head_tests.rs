//! Request heads that are accepted, and request heads that are refused.

use super::*;

fn parsed(bytes: &[u8]) -> Result<(RequestHead, HeadInfo), Refused> {
    let limits = Limits::default();
    let mut input = BytesMut::from(bytes);
    let head = take(&mut input, &mut 0, &mut 0, &limits)?.expect("a whole head");
    let mut request = RequestHead::default();
    let info = parse(&head, &limits, &mut request)?;
    Ok((request, info))
}

#[test]
fn a_head_gives_body_length_and_persistence() {
    let table: [(&[u8], BodyLength, bool); 9] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", BodyLength::Known(0), true),
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", BodyLength::Known(0), true),
        (b"P / HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\n", BodyLength::Known(3), true),
        (
            b"P / HTTP/1.1\r\nContent-Length:3\r\nContent-Length: 3 \r\n\r\n",
            BodyLength::Known(3),
            true,
        ),
        (b"P / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", BodyLength::Chunked, true),
        (
            b"GET / HTTP/1.1\r\nConnection: x\r\nConnection: y, Close\r\n\r\n",
            BodyLength::Known(0),
            false,
        ),
        (b"GET / HTTP/1.0\r\n\r\n", BodyLength::Known(0), false),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", BodyLength::Known(0), true),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", BodyLength::Known(0), false),
    ];
    for (bytes, length, keep_alive) in table {
        let (_, info) = parsed(bytes).expect("a good head");
        assert_eq!(
            (info.length, info.keep_alive),
            (length, keep_alive),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let bad = Refused::Malformed("");
    let table: [(&[u8], Refused); 30] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refused::SeveralHosts),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", bad),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", bad),
        (b"\nGET / HTTP/1.1\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\nX: a\r\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\rX: a\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\n X: a\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\nX : a\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\nX\r\n\r\n", bad),
        (b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", bad),
        (b"GET  / HTTP/1.1\r\n\r\n", bad),
        (b"GET / HTTP/1.1 \r\n\r\n", bad),
        (b"GET /\r\n\r\n", bad),
        (b"GET / HTTP/1.2\r\n\r\n", bad),
        (b"GET /#x HTTP/1.1\r\n\r\n", Refused::Fragment),
        (
            b"P / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refused::LengthAndCoding,
        ),
        (
            b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            Refused::LengthAndCoding,
        ),
        (b"P / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Refused::Length),
        (b"P / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 01\r\n\r\n", Refused::Length),
        (b"P / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", Refused::Length),
        (b"P / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", Refused::Length),
        (b"P / HTTP/1.1\r\nContent-Length:\r\n\r\n", Refused::Length),
        (b"P / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", Refused::Length),
        (b"P / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Refused::Coding),
        (
            b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refused::Coding,
        ),
        (b"P / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refused::Coding),
    ];
    for (bytes, refused) in table {
        let found = parsed(bytes).err();
        let same = match (found, refused) {
            (Some(Refused::Malformed(_)), Refused::Malformed(_)) => true,
            (found, refused) => found == Some(refused),
        };
        assert!(same, "{}: {found:?}", bytes.escape_ascii());
    }
}

#[test]
fn a_target_that_uri_does_not_accept_is_kept_as_sent() {
    let (request, _) =
        parsed("GET /a<b>\"é`?q=up>0 HTTP/1.1\r\n\r\n".as_bytes()).expect("a good head");
    let raw = request.extensions.get::<RawTarget>().expect("a raw target");
    assert_eq!(raw.as_str(), "/a<b>\"é`?q=up>0");
    assert_eq!(request.uri.path(), "/a%3Cb%3E%22%C3%A9%60");
    let (plain, _) = parsed(b"GET /a?b=%3C HTTP/1.1\r\n\r\n").expect("a good head");
    assert!(plain.extensions.is_empty());
}

#[test]
fn a_head_over_the_limits_is_refused_before_its_end() {
    let limits = Limits { max_header_bytes: 64, max_headers: 2, ..Limits::default() };
    let long = [&b"GET / HTTP/1.1\r\nX: "[..], &[b'a'; 64]].concat();
    assert_eq!(end(&long, &mut 0, &limits), Err(Refused::LargeHead));
    let head = Bytes::from_static(b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n");
    let parsed = parse(&head, &limits, &mut RequestHead::default());
    assert_eq!(parsed.err(), Some(Refused::ManyFields));
    let head = Bytes::from_static(b"GET / HTTP/1.1\r\nConnection: a,,b\r\n\r\n");
    let parsed = parse(&head, &limits, &mut RequestHead::default());
    assert_eq!(parsed.err(), Some(Refused::ManyFields));
    assert_eq!(end(b"\x16\x03\x01", &mut 0, &limits).err().map(|_| ()), Some(()));
}
