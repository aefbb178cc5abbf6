//! Generated responses, well-formed and mutated, read by the gate's client and by hyper's.

use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::responses::{End, Read, Script};
use crate::spoil::{self, Mutation, chunked, cuts, latin, settings};

/// How the body of a generated response ends.
#[derive(Clone, Debug)]
enum Framing {
    Length { repeated: bool },
    Chunked { sizes: Vec<usize>, extension: &'static str, trailers: Vec<String> },
    Close,
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![6 => Just(Method::GET), 2 => Just(Method::HEAD), 1 => Just(Method::POST), 1 => Just(Method::OPTIONS)]
}

fn field() -> impl Strategy<Value = String> {
    let names = select(vec![
        "X-A",
        "x-b",
        "ETag",
        "Set-Cookie",
        "Content-Type",
        "Date",
        "Server",
        "X_C",
        "Vary",
        "!#$%&'*+-.^`|~9",
        "X-One",
        "X-Request-Id",
        "Trailer",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Upgrade",
        "TE",
    ]);
    let values = select(vec![
        "",
        "x",
        "a, b",
        "a=b; Path=/",
        "two  words",
        "tab\there",
        "\"quoted \\\" string\"",
        "caf\u{e9}",
        ":",
        "5",
        "chunked",
        "a very long value that goes on, and on, and on, so that it is cut somewhere in its middle now and then",
    ]);
    let blanks = || select(vec!["", " ", "  ", "\t", " \t "]);
    (names, blanks(), values, blanks())
        .prop_map(|(name, before, value, behind)| format!("{name}:{before}{value}{behind}\r\n"))
}

fn connection() -> impl Strategy<Value = &'static str> {
    let lines = select(vec![
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Connection: X-One\r\n",
        "Connection: x-a, X-ONE\r\n",
        "connection:,\r\nConnection: content-length, x-b\r\n",
        "Connection: keep-alive, X-One , ,close\r\n",
        "Connection:\r\n",
    ]);
    prop_oneof![3 => Just(""), 1 => lines]
}

fn status() -> impl Strategy<Value = &'static str> {
    select(vec![
        "200 OK",
        "200 OK",
        "200 ",
        "200",
        "201 Created",
        "204 No Content",
        "205 Reset Content",
        "206 Partial Content",
        "299 Fine  indeed\t!",
        "301 Moved",
        "304 Not Modified",
        "304 ",
        "404 Nicht da",
        "418 I'm a teapot",
        "500 caf\u{e9}",
        "503 Service Unavailable",
        "599 ",
        "600 Beyond",
        "999 Last",
    ])
}

fn interim() -> impl Strategy<Value = String> {
    let one = select(vec![
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: </b>\r\n\r\n",
    ]);
    prop_oneof![3 => Just(String::new()), 1 => vec(one, 1..4).prop_map(|all| all.concat())]
}

fn framing() -> impl Strategy<Value = Framing> {
    let extensions = select(vec!["", ";a", ";a=b;c=\"d\"", ";"]);
    let trailer = select(vec![
        "X-Sum: 1\r\n",
        "x-sum:  2 \r\n",
        "Grpc-Status: 0\r\n",
        "Content-Length: 9\r\n",
        "X-Latin: \u{e9}\r\n",
        "Empty:\r\n",
    ]);
    let trailers = vec(trailer.prop_map(str::to_owned), 0..4);
    prop_oneof![
        4 => any::<bool>().prop_map(|repeated| Framing::Length { repeated }),
        4 => (vec(1..40_usize, 0..6), extensions, trailers)
            .prop_map(|(sizes, extension, trailers)| Framing::Chunked { sizes, extension, trailers }),
        2 => Just(Framing::Close),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let alphabet = select(b"\r\n\0ab0159;:\xff HTTP/".to_vec());
    prop_oneof![
        1 => Just(Vec::new()),
        6 => vec(alphabet, 1..120),
        1 => (9_000..40_000_usize).prop_map(|length| (0..length).map(|at| (at % 251) as u8).collect()),
    ]
}

/// A well-formed response (RFC 9112), and whether its end is known without a close.
fn well_formed() -> impl Strategy<Value = (Method, Vec<u8>, bool)> {
    let head = (
        method(),
        interim(),
        select(vec![false, false, false, true]),
        status(),
        vec(field(), 0..8),
    );
    (head, connection(), framing(), body(), any::<Index>()).prop_map(
        |((method, interim, http_1_0, status, mut fields), connection, framing, body, place)| {
            // HTTP/1.0 has no chunked coding (RFC 9112 section 6.1).
            let framing = if http_1_0 && matches!(framing, Framing::Chunked { .. }) {
                Framing::Close
            } else {
                framing
            };
            let bodiless =
                method == Method::HEAD || status.starts_with("204") || status.starts_with("304");
            let framed = match &framing {
                Framing::Length { repeated } => {
                    format!("Content-Length: {}\r\n", body.len()).repeat(1 + usize::from(*repeated))
                }
                Framing::Chunked { .. } => "Transfer-Encoding: chunked\r\n".to_owned(),
                Framing::Close => String::new(),
            };
            fields.insert(place.index(fields.len() + 1), framed + connection);
            let version = if http_1_0 { "HTTP/1.0" } else { "HTTP/1.1" };
            let head = format!("{interim}{version} {status}\r\n{}\r\n", fields.concat());
            let mut bytes = latin(&head);
            let ends = bodiless || !matches!(framing, Framing::Close);
            if !bodiless {
                frame(&mut bytes, &framing, &body);
            }
            (method, bytes, ends)
        },
    )
}

fn frame(bytes: &mut Vec<u8>, framing: &Framing, body: &[u8]) {
    let Framing::Chunked { sizes, extension, trailers } = framing else {
        return bytes.extend_from_slice(body);
    };
    bytes.extend(chunked(body, sizes, extension, &trailers.concat()));
}

fn mutation() -> impl Strategy<Value = Mutation> {
    spoil::mutation(
        vec!["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        vec![
            "Content-Length: 5\r\n",
            "Content-Length: 0\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 5,\r\n",
            "Content-Length:\r\n",
            "Content-Length: 05\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: 18446744073709551615\r\n",
            "Content-Length : 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "Transfer-Encoding: \x0bchunked\r\n",
            "Connection: close\r\n",
            "Connection: upgrade\r\nUpgrade: x\r\n",
            " folded\r\n",
            "no colon\r\n",
            ": empty\r\n",
            "Bad Name: x\r\n",
            "\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "5\r\n",
            "0\r\n",
            "0\r\n\r\n",
        ],
    )
}

impl Script {
    /// Asserts that both accept it, and read the same.
    pub(crate) fn is_read_alike(&self) -> Read {
        let (ours, hypers) = self.play();
        let ours = ours.unwrap_or_else(|error| panic!("ours: {error}: {}", self.shown()));
        assert_eq!(Ok(ours.clone()), hypers, "ours, hyper's: {}", self.shown());
        ours
    }

    /// Asserts that neither accepts it.
    pub(crate) fn is_refused(&self) {
        let both = self.play();
        assert!(both.0.is_err() && both.1.is_err(), "{both:?}: {}", self.shown());
    }
}

proptest! {
    #![proptest_config(settings(300))]
    #[test]
    fn a_well_formed_response_is_read_alike((method, bytes, ends) in well_formed(), cuts in cuts(), stays in any::<bool>()) {
        let end = if ends && stays { End::Open } else { End::Closed };
        Script { method, bytes, cuts, end }.is_read_alike();
    }

    #[test]
    fn bytes_after_a_response_are_no_response(
        (method, mut bytes, ends) in well_formed(),
        behind in select(vec!["\r\n", "x", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "\0"]),
    ) {
        prop_assume!(ends);
        bytes.extend(latin(behind));
        // In one piece: bytes that arrive after the next request look like its response.
        let script = Script { method, bytes, cuts: Vec::new(), end: End::Open };
        prop_assert!(!script.is_read_alike().reused, "{}", script.shown());
    }
}

proptest! {
    #![proptest_config(settings(1500))]
    #[test]
    fn a_mutated_response_is_read_as_strictly(
        (method, mut bytes, _) in well_formed(), mutations in vec(mutation(), 1..4), cuts in cuts()
    ) {
        mutations.iter().for_each(|mutation| mutation.on(&mut bytes));
        Script { method, bytes, cuts, end: End::Closed }.is_read_as_strictly();
    }
}

/// Responses of every framing, small enough to be cut at each byte.
const ANSWERS: [&str; 8] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Nope\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

fn script(bytes: &str, cuts: Vec<usize>, end: End) -> Script {
    Script { method: Method::GET, bytes: bytes.into(), cuts, end }
}

#[test]
fn a_response_cut_into_two_pieces_is_read_alike() {
    for answer in ANSWERS {
        let whole = script(answer, Vec::new(), End::Closed).is_read_alike();
        for cut in 1..answer.len() {
            assert_eq!(script(answer, vec![cut], End::Closed).is_read_alike(), whole);
        }
    }
}

#[test]
fn a_response_that_ends_too_early_is_refused() {
    for answer in ANSWERS {
        let head = answer.rfind("\r\n\r\n").map_or(0, |end| end + 4);
        // A body that ends with its connection cannot end too early.
        let last = if answer.starts_with("HTTP/1.1 200 OK\r\nX") { head } else { answer.len() };
        for end in 0..last {
            script(&answer[..end], Vec::new(), End::Closed).is_refused();
            script(&answer[..end], Vec::new(), End::Reset).is_refused();
        }
    }
}

#[test]
fn a_response_that_ends_with_a_reset_is_refused() {
    script("HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello", Vec::new(), End::Reset).is_refused();
}
