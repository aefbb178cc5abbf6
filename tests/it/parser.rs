//! The gate's HTTP/1.1 server compared with hyper's: both get the same bytes, and must agree.
//!
//! The oracle is hyper's server. The gate runs in front of a dashboard that parses its input as strictly as possible, and
//! answers each complete request with its number. So the response to a client's request shows which of the forwarded
//! requests was made from it; that one must be the request that hyper read at this position. Well-formed requests are all
//! forwarded and answered, in order. The gate may refuse more malformed ones than hyper, never fewer, and forwards nothing
//! after a refusal. One thread is both client and dashboard, so that nothing is still in transit when a case ends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Instant;

use http::{HeaderMap, HeaderName, Uri};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{TestError, TestRunner};

use crate::hypers_server::{self, End};
use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::message::{Field, Inbox, Length, Message};
use crate::support::pieces::{is_hop_by_hop, is_protected, pieces};
use crate::support::spoil::{self, Mutation, chunked, cuts, latin, settings};

/// The last request on every connection, which ends it: the result for earlier requests is final when it is answered.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: dash\r\nConnection: close\r\n\r\n";

/// Sent on a new connection when a case has ended: by then the gate has finished with everything before.
const CONTROL: &[u8] = b"GET /control HTTP/1.1\r\nHost: dash\r\n\r\n";

/// A request as read by hyper or by the dashboard.
#[derive(Clone)]
struct Asked {
    method: String,
    target: Vec<u8>,
    /// The forwarded fields, grouped by name.
    fields: Vec<Field>,
    body: Vec<u8>,
    trailers: Vec<Field>,
    has_host: bool,
    /// Whether its body is complete.
    whole: bool,
}

impl Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, target, fields, body, trailers, whole, .. } = self;
        write!(f, "{method} {}", target.escape_ascii())?;
        for (name, value) in fields.iter().chain(trailers) {
            write!(f, " | {name}: {}", value.escape_ascii())?;
        }
        let shown = &body[..body.len().min(200)];
        write!(f, " | {} bytes, whole: {whole}: {}", body.len(), shown.escape_ascii())
    }
}

/// What hyper reads from a client's bytes.
#[derive(Debug)]
struct Oracle {
    requests: Vec<Asked>,
    end: End,
}

/// The bytes of a client, and where they are cut into separate packets.
#[derive(Clone, Debug)]
struct Script {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
}

impl Script {
    fn new(bytes: impl Into<Vec<u8>>, cuts: Vec<usize>) -> Self {
        Self { bytes: [bytes.into(), LAST.to_vec()].concat(), cuts }
    }

    fn shown(&self) -> String {
        format!("cut at {:?}\n{}", self.cuts, self.bytes.escape_ascii())
    }
}

impl Oracle {
    fn of(script: &Script) -> Self {
        let pieces = pieces(&script.bytes, &script.cuts);
        let (requests, end) = hypers_server::read(pieces.into_iter().map(<[u8]>::to_vec).collect());
        Self { requests: requests.into_iter().map(Asked::from).collect(), end }
    }

    fn is_whole(&self, at: usize) -> bool {
        self.requests.get(at).is_some_and(|request| request.whole)
    }
}

impl From<hypers_server::Read> for Asked {
    fn from(read: hypers_server::Read) -> Self {
        let hypers_server::Read { head, body, trailers, whole } = read;
        Self {
            method: head.method.to_string(),
            target: origin_form(&head.uri),
            fields: kept(&head.headers),
            body,
            trailers: kept_trailers(&trailers),
            has_host: head.headers.contains_key("host"),
            whole,
        }
    }
}

/// Path and query (RFC 9112 section 3.2.1).
fn origin_form(uri: &Uri) -> Vec<u8> {
    let sent = uri.path_and_query().map_or("/", |target| target.as_str());
    let slash = if sent.starts_with('?') { "/" } else { "" };
    format!("{slash}{sent}").into_bytes()
}

/// The fields of a client's request that are forwarded unchanged.
fn kept(headers: &HeaderMap) -> Vec<Field> {
    let lines = headers.get_all("connection").iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let options: Vec<_> = options.map(|option| option.trim_ascii().to_ascii_lowercase()).collect();
    let is_named = |name: &HeaderName| options.iter().any(|o| o == name.as_str().as_bytes());
    let all = headers.iter().filter(|(name, _)| !is_named(name) || is_protected(name));
    let all = all.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    grouped(all.filter(|(name, _)| is_forwarded(name)).collect())
}

fn grouped(mut fields: Vec<Field>) -> Vec<Field> {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

/// Whether the gate neither removes this field, nor replaces it, nor uses it for framing.
fn is_forwarded(name: &str) -> bool {
    let resembled = name.replace('_', "-");
    let is_replaced = matches!(
        &*resembled,
        "via" | "expect" | "http2-settings" | "forwarded" | "x-real-ip" | "x-request-id"
    ) || resembled.starts_with("x-forwarded-");
    // Names that CGI maps to a hop-by-hop field are removed like it.
    let resembled = HeaderName::from_bytes(resembled.as_bytes()).expect("a name");
    !is_replaced && !is_hop_by_hop(&resembled) && name != "content-length"
}

/// Trailers that are not for framing, forwarding or authentication.
fn kept_trailers(trailers: &HeaderMap) -> Vec<Field> {
    let kept = trailers.iter().filter(|(name, _)| {
        let resembled = name.as_str().replace('_', "-");
        let name = HeaderName::from_bytes(resembled.as_bytes()).expect("a name");
        let is_early = matches!(
            &*resembled,
            "trailer"
                | "content-encoding"
                | "content-type"
                | "content-range"
                | "set-cookie"
                | "www-authenticate"
                | "expect"
                | "max-forwards"
        );
        !is_early && !is_hop_by_hop(&name) && !is_protected(&name)
    });
    let kept = kept.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    grouped(kept.collect())
}

/// A request that reached the dashboard.
#[derive(Debug)]
struct Reached {
    number: usize,
    asked: Asked,
}

/// A response that reached the client.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// The dashboard's number of the request that it answers; `None` if the gate answered.
    number: Option<usize>,
    closes: bool,
    is_bare: bool,
}

/// The gate, and the dashboard behind it.
struct Scene {
    gate: Gate,
    listener: TcpListener,
    calls: Vec<Call>,
    /// The requests of the current case.
    reached: Vec<Reached>,
    answered: usize,
    control: TcpStream,
    /// Set until the current case has succeeded.
    failed: bool,
}

/// A connection from the gate, and its input that has not been answered yet.
struct Call {
    socket: TcpStream,
    bytes: Vec<u8>,
}

/// A nonblocking `read` or `write`: the number of bytes, or `None` if it would block.
fn moved(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_into(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut piece = [0; 16 * 1024];
    let count = moved(socket.read(&mut piece))?;
    bytes.extend_from_slice(&piece[..count.unwrap_or(0)]);
    Ok(count)
}

impl Scene {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let gate = Builder::before(listener.local_addr().expect("an address")).start();
        let control = client(&gate);
        Self {
            gate,
            listener,
            calls: Vec::new(),
            reached: Vec::new(),
            answered: 0,
            control,
            failed: false,
        }
    }

    /// Lets the dashboard do all it can at the moment. Returns whether anything happened.
    fn attend(&mut self) -> bool {
        let mut happened = false;
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nonblocking(true).expect("a socket");
            socket.set_nodelay(true).expect("a socket");
            self.calls.push(Call { socket, bytes: Vec::new() });
            happened = true;
        }
        for mut call in std::mem::take(&mut self.calls) {
            let mut is_open = true;
            while is_open {
                match read_into(&mut call.socket, &mut call.bytes) {
                    Ok(None) => break,
                    Ok(Some(0)) | Err(_) => is_open = false,
                    Ok(Some(_)) => {}
                }
                happened = true;
            }
            while let Some((asked, used)) = parsed(&call.bytes)
                && (asked.whole || !is_open)
            {
                call.bytes.drain(..used);
                let body = if asked.method == "HEAD" { "" } else { "ok" };
                let number = self.answered;
                self.answered += usize::from(asked.whole);
                self.reached.push(Reached { number, asked });
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nX-Number: {number}\r\nContent-Length: 2\r\n\r\n{body}"
                );
                if is_open {
                    // A short write, to a gate that may have closed.
                    let _ = call.socket.write(answer.as_bytes());
                }
            }
            assert!(is_open || call.bytes.is_empty(), "half a head: {}", call.bytes.escape_ascii());
            if is_open {
                self.calls.push(call);
            }
        }
        happened
    }

    /// All responses to `bytes`, and what reached the dashboard meanwhile. The client closes its half after so many responses
    /// that no more can come.
    fn play(&mut self, script: &Script, oracle: &Oracle) -> (Vec<Answer>, Vec<Reached>) {
        let patience = Instant::now() + PATIENCE;
        let mut socket = client(&self.gate);
        let mut unsent = VecDeque::from(pieces(&script.bytes, &script.cuts));
        let (mut received, mut half_closed) = (Vec::new(), false);
        let whole = oracle.requests.iter().filter(|request| request.whole).count();
        loop {
            let mut happened = self.attend();
            if let Some(piece) = unsent.pop_front() {
                happened = true;
                match moved(socket.write(piece)) {
                    Ok(count) if count.unwrap_or(0) < piece.len() => {
                        unsent.push_front(&piece[count.unwrap_or(0)..]);
                    }
                    Ok(_) => {}
                    Err(_) => unsent.clear(),
                }
            }
            match read_into(&mut socket, &mut received) {
                Ok(None) => {}
                Ok(Some(0)) | Err(_) => break,
                Ok(Some(_)) => happened = true,
            }
            if happened {
                continue;
            }
            let is_late = Instant::now() > patience;
            assert!(
                !is_late,
                "it hangs: {oracle:?} {}\n{}",
                received.escape_ascii(),
                script.shown()
            );
            if !half_closed
                && oracle.end == End::Waiting
                && answers(&received, oracle).0.len() >= whole
            {
                half_closed = true;
                let _ = socket.shutdown(Shutdown::Write);
            }
            std::thread::yield_now();
        }
        drop(socket);
        self.settle(patience);
        let (answers, rest) = answers(&received, oracle);
        assert!(rest.is_empty(), "half an answer: {}\n{}", rest.escape_ascii(), script.shown());
        (answers, std::mem::take(&mut self.reached))
    }

    /// Waits until the gate has finished, and everything that it sent has been read.
    fn settle(&mut self, patience: Instant) {
        let mut received = Vec::new();
        self.control.write_all(CONTROL).expect("sent");
        while !received.ends_with(b"ok") {
            self.attend();
            let read = read_into(&mut self.control, &mut received).expect("a connection");
            assert!(read != Some(0) && Instant::now() < patience, "the control is not answered");
            std::thread::yield_now();
        }
        while self.attend() || self.calls.iter().any(|call| !call.bytes.is_empty()) {
            assert!(Instant::now() < patience, "an abandoned request is not ended");
            std::thread::yield_now();
        }
        self.reached.retain(|request| request.asked.target != b"/control");
    }

    /// Asserts that the gate forwards nothing that hyper does not read, and nothing that hyper reads differently.
    fn is_read_as_strictly(&mut self, script: &Script) -> Vec<Answer> {
        let (oracle, folds) = judged(script);
        let (answers, reached) = self.play(script, &oracle);
        let details = || {
            format!("{:?}\n{answers:?}\n{reached:#?}\n{oracle:#?}\n{}", oracle.end, script.shown())
        };
        let mut reached = reached.iter().peekable();
        for (at, answer) in answers.iter().enumerate() {
            match answer.number {
                Some(number) => {
                    let request = reached.next().filter(|request| request.number == number);
                    let request =
                        &request.unwrap_or_else(|| panic!("out of step: {}", details())).asked;
                    assert!(
                        oracle.is_whole(at) && request.whole,
                        "more than hyper's: {}",
                        details()
                    );
                    assert!(
                        is_same(request, &oracle.requests[at], folds),
                        "not the same: {}",
                        details()
                    );
                }
                None => {
                    assert!((400..500).contains(&answer.status), "the gate's fault: {}", details());
                    // It may come before the body, which decides whether the connection stays open.
                    let is_last = at + 1 == answers.len();
                    assert!(is_last || oracle.is_whole(at), "it goes on: {}", details());
                    if answer.closes
                        && let Some(begun) = reached.next_if(|request| !request.asked.whole)
                    {
                        let hypers = oracle.requests.get(at);
                        let same =
                            hypers.is_some_and(|hypers| is_same(&begun.asked, hypers, folds));
                        assert!(same, "not the same: {}", details());
                    }
                }
            }
            assert!(!answer.closes || at + 1 == answers.len(), "it goes on: {}", details());
        }
        let closed = answers.last().is_some_and(|answer| answer.closes);
        let refused = answers.last().is_some_and(|answer| answer.number.is_none());
        if let Some(begun) = reached.next() {
            let hypers = oracle.requests.get(answers.len());
            let same = hypers.is_some_and(|hypers| is_same(&begun.asked, hypers, folds));
            assert!(same && !begun.asked.whole && !closed, "more than hyper's: {}", details());
        }
        assert!(reached.next().is_none(), "more than hyper's: {}", details());
        // A request that the gate refuses and hyper does not gets a response.
        assert!(closed || refused || !oracle.is_whole(answers.len()), "no response: {}", details());
        answers
    }

    /// Asserts that this number of requests, and the last one, are answered by the dashboard, in order.
    fn is_answered(&mut self, script: &Script, count: usize) {
        let answers = self.is_read_as_strictly(script);
        let all = answers.iter().all(|answer| answer.number.is_some());
        assert!(all && answers.len() == count + 1, "{count}: {answers:?}: {}", script.shown());
    }
}

fn client(gate: &Gate) -> TcpStream {
    let socket = TcpStream::connect(gate.address).expect("a connection");
    socket.set_nonblocking(true).expect("a socket");
    socket.set_nodelay(true).expect("a socket");
    socket
}

/// Parses the first request from the gate, as strictly as RFC 9112. Also returns its length in bytes. `None` if its head is
/// incomplete.
fn parsed(bytes: &[u8]) -> Option<(Asked, usize)> {
    let fault = |what: &str| -> ! { panic!("{what}: {}", bytes.escape_ascii()) };
    let mut inbox = Inbox::new(bytes);
    let mut message = match inbox.head() {
        Ok(message) => message,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
        Err(error) => fault(&error.to_string()),
    };
    let end = bytes.iter().position(|byte| *byte == b'\r').unwrap_or(0);
    let words: Vec<_> = bytes[..end].split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1"] = words[..] else { fault("not a request line") };
    if !is_token(method) || target.is_empty() || target.iter().any(|byte| is_control(*byte)) {
        fault("not a request line");
    }
    for (name, value) in &message.fields {
        if !is_token(name.as_bytes()) || value.iter().any(|b| *b != b'\t' && is_control(*b)) {
            fault("not a field");
        }
    }
    if message.all("host").len() != 1 {
        fault("not one host");
    }
    let digits = message.one("content-length").unwrap_or_default();
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        fault("not a length");
    }
    let length = message.request_length();
    let whole = match inbox.body(&mut message, length) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
        Err(error) => fault(&error.to_string()),
    };
    let rest = if whole { inbox.rest().expect("bytes").len() } else { 0 };
    let fields = message.fields.into_iter().filter(|(name, _)| is_forwarded(name)).collect();
    let asked = Asked {
        method: String::from_utf8_lossy(method).into_owned(),
        target: target.to_vec(),
        fields: grouped(fields),
        body: message.body,
        trailers: grouped(message.trailers),
        has_host: true,
        whole,
    };
    Some((asked, bytes.len() - rest))
}

fn is_token(name: &[u8]) -> bool {
    let is_sign = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || is_sign(byte))
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control()
}

/// The final responses among `bytes`, and the rest after them.
fn answers(bytes: &[u8], oracle: &Oracle) -> (Vec<Answer>, Vec<u8>) {
    let (mut answers, mut inbox) = (Vec::new(), Inbox::new(bytes));
    let mut used = 0;
    loop {
        let asked = oracle.requests.get(answers.len());
        let method = asked.map_or("GET", |asked| asked.method.as_str());
        let whole = inbox.head().and_then(|mut answer| {
            let is_refusal = answer.one("x-number").is_none() && closes(&answer);
            let method = match is_refusal {
                // Whether the request was HEAD may not have been read, or not by hyper.
                true if bytes.ends_with(b"\r\n\r\n") => "HEAD",
                true => "GET",
                false => method,
            };
            let length = answer.answer_length(method);
            assert_ne!(length, Length::UntilClose, "an answer without an end: {answer:?}");
            inbox.body(&mut answer, length)?;
            Ok(answer)
        });
        let answer = match whole {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return (answers, bytes[used..].to_vec());
            }
            Err(error) => panic!("{error}: {}", bytes.escape_ascii()),
        };
        let rest = inbox.rest().expect("bytes").len();
        used = bytes.len() - rest;
        inbox = Inbox::new(&bytes[used..]);
        if answer.status() >= 200 {
            answers.push(Answer {
                status: answer.status(),
                number: answer.one("x-number").map(|number| number.parse().expect("a number")),
                closes: closes(&answer),
                is_bare: answer.body.is_empty(),
            });
        }
    }
}

fn closes(answer: &Message) -> bool {
    answer.one("connection").is_some_and(|value| value == "close")
}

/// What hyper reads, and whether targets were changed for it.
///
/// The only requests that the gate forwards and hyper refuses: targets with characters that `Uri` does not accept, such as
/// `"` and `<` in a query, but dashboards do. For them, hyper gets the bytes again with another character instead.
fn judged(script: &Script) -> (Oracle, bool) {
    let oracle = Oracle::of(script);
    // If the following bytes look like an HTTP/2 preface, hyper reports any error as one of the preface.
    let is_targets = |error: &String| error.contains("URI") || error.contains("HTTP2 preface");
    if !matches!(&oracle.end, End::Refused(error) if is_targets(error)) {
        return (oracle, false);
    }
    let mut bytes = script.bytes.clone();
    for line in bytes.split_mut(|byte| *byte == b'\n') {
        if line.ends_with(b" HTTP/1.1\r") || line.ends_with(b" HTTP/1.0\r") {
            // The bytes before it on the line may be the end of a body. A host is always spelled the same.
            let target = line.split_mut(|byte| *byte == b' ').nth_back(1).unwrap_or_default();
            if target.starts_with(b"/") {
                fold(target);
            }
        }
    }
    (Oracle::of(&Script { bytes, cuts: script.cuts.clone() }), true)
}

fn fold(bytes: &mut [u8]) {
    for byte in bytes {
        if matches!(*byte, b'"' | b'<' | b'>' | b'`' | b'^' | b'{' | b'|' | b'}' | 0x80..) {
            *byte = b'!';
        }
    }
}

/// Whether the dashboard received what hyper read; for an incomplete request, as far as it came.
fn is_same(reached: &Asked, hypers: &Asked, folds: bool) -> bool {
    let comparable = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        if folds {
            fold(&mut bytes);
        }
        bytes
    };
    // HTTP/1.0 needs no host, but the dashboard requires one.
    let is_added = |name: &str| name == "host" && !hypers.has_host;
    let comparables = |fields: &[Field]| -> Vec<Field> {
        let kept = fields.iter().filter(|(name, _)| !is_added(name));
        kept.map(|(name, value)| (name.clone(), comparable(value))).collect()
    };
    let (one, other) = (comparable(&reached.body), comparable(&hypers.body));
    let shorter = one.len().min(other.len());
    let ends_alike = !reached.whole
        || (one.len() == other.len()
            && comparables(&reached.trailers) == comparables(&hypers.trailers));
    reached.method == hypers.method
        && comparable(&reached.target) == comparable(&hypers.target)
        && comparables(&reached.fields) == comparables(&hypers.fields)
        && one[..shorter] == other[..shorter]
        && ends_alike
}

/// The framing of a generated request's body.
#[derive(Clone, Debug)]
enum Framing {
    None,
    Length { repeated: bool },
    Chunked { sizes: Vec<usize>, extension: &'static str, trailers: Vec<&'static str> },
}

fn framing() -> impl Strategy<Value = Framing> {
    let extensions = select(vec!["", "", ";a", ";a=b;c=\"d\"", ";"]);
    let trailers = select(vec![
        "X-Sum: 1\r\n",
        "x-sum:  2 \r\n",
        "Content-Length: 9\r\n",
        "Transfer_Encoding: chunked\r\n",
        "X-Latin: \u{e9}\r\n",
        "Empty:\r\n",
    ]);
    prop_oneof![
        4 => Just(Framing::None),
        3 => any::<bool>().prop_map(|repeated| Framing::Length { repeated }),
        4 => (vec(1..40_usize, 0..6), extensions, vec(trailers, 0..4)).prop_map(
            |(sizes, extension, trailers)| Framing::Chunked { sizes, extension, trailers }
        ),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let alphabet = select(b"\r\n\0ab0159;:\xff HTTP/".to_vec());
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: dash\r\n\r\n";
    prop_oneof![
        2 => Just(Vec::new()),
        6 => vec(alphabet, 1..80),
        2 => Just(smuggled.into()),
        1 => Just(format!("0\r\n\r\n{smuggled}").into_bytes()),
        1 => (9_000..20_000_usize).prop_map(|length| (0..length).map(|at| (at % 251) as u8).collect()),
    ]
}

fn target() -> impl Strategy<Value = &'static str> {
    select(vec![
        "/",
        "/a",
        "/a/b?c=d&e",
        "/a%20b",
        "//a",
        "/?",
        "/a;b=c/./d",
        "/~!$&'()*+,;=:@-._",
        "http://dash/x?y",
        "http://dash?x",
        "http://dash",
        "/a?q={x=\"<y>\"}",
        "/a<b>`|^{}\u{e9}",
    ])
}

fn field() -> impl Strategy<Value = String> {
    let names = select(vec![
        "X-A",
        "x-b",
        "Cookie",
        "Authorization",
        "Accept",
        "Content-Type",
        "Origin",
        "X_C",
        "X_Forwarded_For",
        "X-Forwarded-For",
        "X-Forwarded-Custom",
        "X-Real-IP",
        "X-Request-Id",
        "Forwarded",
        "Via",
        "!#$%&'*+-.^`|~9",
        "X-One",
        "Keep-Alive",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "HTTP2-Settings",
    ]);
    let values = select(vec![
        "",
        "x",
        "a, b",
        "a=b; c",
        "two  words",
        "tab\there",
        "caf\u{e9}",
        ":",
        "5",
        "chunked",
        "trailers",
        "close",
        "a very long value that goes on, and on, and on, so that it is cut somewhere in its middle now and then",
    ]);
    let blanks = || select(vec!["", " ", "  ", "\t"]);
    (names, blanks(), values, blanks())
        .prop_map(|(name, before, value, behind)| format!("{name}:{before}{value}{behind}\r\n"))
}

fn connection() -> impl Strategy<Value = &'static str> {
    let lines = select(vec![
        "Connection: keep-alive\r\n",
        "Connection: X-One\r\n",
        "Connection: x-a, X-ONE, te\r\n",
        "connection:,\r\nConnection: content-length, host, x-b, transfer-encoding\r\n",
        "Connection:\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
    ]);
    prop_oneof![3 => Just(""), 1 => lines]
}

/// A valid request (RFC 9112), after which the connection stays open.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let methods = vec!["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "!"];
    let head = (
        select(vec!["", "", "", "\r\n"]),
        select(methods),
        target(),
        select(vec!["dash", "DASH", "dash:80"]),
        select(vec![false, false, false, true]),
    );
    let fields = (vec(field(), 0..8), connection(), select(vec![false, false, false, true]));
    (head, fields, framing(), body(), any::<Index>()).prop_map(
        |((before, method, target, host, http_1_0), fields, framing, body, place)| {
            let (mut fields, connection, expects) = fields;
            let version = if http_1_0 { "HTTP/1.0" } else { "HTTP/1.1" };
            // HTTP/1.0 has no chunks (RFC 9112 section 6.1).
            let framing = match framing {
                Framing::Chunked { .. } if http_1_0 => Framing::Length { repeated: false },
                framing => framing,
            };
            let framed = match &framing {
                Framing::None => String::new(),
                Framing::Length { repeated } => {
                    format!("Content-Length: {}\r\n", body.len()).repeat(1 + usize::from(*repeated))
                }
                Framing::Chunked { .. } => "Transfer-Encoding: chunked\r\n".to_owned(),
            };
            let kept = if http_1_0 { "Connection: keep-alive\r\n" } else { connection };
            let expected = if expects { "Expect: 100-continue\r\n" } else { "" };
            let needed = format!("Host: {host}\r\n{framed}{kept}{expected}");
            fields.insert(place.index(fields.len() + 1), needed);
            let fields = fields.concat();
            let mut bytes = latin(&format!("{before}{method} "));
            bytes.extend(target.bytes());
            bytes.extend(latin(&format!(" {version}\r\n{fields}\r\n")));
            match &framing {
                Framing::None => {}
                Framing::Length { .. } => bytes.extend(&body),
                Framing::Chunked { sizes, extension, trailers } => {
                    bytes.extend(chunked(&body, sizes, extension, &trailers.concat()));
                }
            }
            bytes
        },
    )
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let bits = vec![
        "GET /smuggled HTTP/1.1\r\nHost: dash\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: dash\r\nX: ",
        "HTTP/1.1",
        "#",
        "%",
        "\\",
        "\"",
        "{",
        "@",
        "//",
        "\x0b",
    ];
    let lines = vec![
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length:\r\n",
        "Content-Length: 05\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 18446744073709551615\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length : 5\r\n",
        "Content_Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Connection: close, keep-alive\r\n",
        "Connection: transfer-encoding, content-length\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        "Host: other\r\n",
        "Host: a b\r\n",
        "Host: user@dash\r\n",
        "Host: dash, other\r\n",
        "Host:\r\n",
        "Host: [::1]:3000\r\n",
        "Expect: 100-continue\r\n",
        "Expect: something\r\n",
        " folded\r\n",
        "\tfolded\r\n",
        "no colon\r\n",
        ": empty\r\n",
        "Bad Name: x\r\n",
        "\r\n",
        "GET /smuggled HTTP/1.1\r\n",
        "GET * HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "OPTIONS http://dash HTTP/1.1\r\n",
        "CONNECT dash:80 HTTP/1.1\r\n",
        "GET dash:80 HTTP/1.1\r\n",
        "GET http://other/ HTTP/1.1\r\n",
        "GET /a%zz HTTP/1.1\r\nHost: dash\r\n\r\n",
        "GET / HTTP/1.2\r\n",
        "GET / HTTP/2.0\r\n",
        "GET /\r\n",
        "GET  / HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "5\r\n",
        "0\r\n",
        "0\r\n\r\n",
        "5 \r\n",
        "+5\r\n",
        "fffffffffffffffff\r\n",
    ];
    spoil::mutation(bits, lines)
}

fn run<S: Strategy>(cases: u32, strategy: S, check: impl Fn(&mut Scene, S::Value)) {
    let scene = RefCell::new(Scene::start());
    let outcome = TestRunner::new(settings(cases)).run(&strategy, |value| {
        // A failed case leaves connections behind; the cases that shrink it start with a new gate.
        let mut fresh = scene.try_borrow_mut().expect("one case at a time");
        if fresh.failed {
            *fresh = Scene::start();
        }
        fresh.failed = true;
        check(&mut fresh, value);
        fresh.failed = false;
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        // Shows the bytes only; the parts that they were made of add nothing.
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_refused_head_request_is_answered_without_a_body() {
    let mut scene = Scene::start();
    let twice = "Host: dash\r\nHost: dash\r\n";
    let script = Script::new(format!("HEAD / HTTP/1.1\r\n{twice}\r\n"), Vec::new());
    let answers = scene.is_read_as_strictly(&script);
    assert_eq!(answers.len(), 1, "{answers:?}");
    let Answer { status, number, is_bare, .. } = answers[0];
    assert_eq!((status, number, is_bare), (400, None, true), "{answers:?}");
}

#[test]
fn a_body_that_was_not_read_keeps_the_connection_open() {
    let mut scene = Scene::start();
    for rest in ["\r\n", "Content-Length: 0\r\n\r\n", "Content-Length: 2\r\n\r\nab"] {
        let bytes = format!("PUT / HTTP/1.1\r\nHost: dash\r\nExpect: 100-continue\r\n{rest}");
        scene.is_answered(&Script::new(bytes, Vec::new()), 1);
    }
}

#[test]
fn bytes_after_a_chunked_body_are_not_part_of_it() {
    let behind = "POST / HTTP/1.1\r\nHost: dash\r\nContent-Length: 1\r\n\r\n\n";
    for trailers in ["", "X-Sum: 1\r\n"] {
        let chunked = format!("Transfer-Encoding: chunked\r\n\r\n0\r\n{trailers}\r\n");
        let bytes = format!("POST / HTTP/1.1\r\nHost: dash\r\n{chunked}{behind}");
        Scene::start().is_answered(&Script::new(bytes, Vec::new()), 2);
    }
}

#[test]
fn well_formed_requests_are_all_answered_in_order() {
    run(400, (vec(request(), 1..=4), cuts()), |scene, (requests, cuts)| {
        scene.is_answered(&Script::new(requests.concat(), cuts), requests.len());
    });
}

#[test]
fn mutated_requests_are_parsed_as_strictly() {
    let strategy = (vec(request(), 1..=4), vec(mutation(), 1..4), cuts());
    run(2000, strategy, |scene, (requests, mutations, cuts)| {
        let mut bytes = requests.concat();
        mutations.iter().for_each(|mutation| mutation.on(&mut bytes));
        scene.is_read_as_strictly(&Script::new(bytes, cuts));
    });
}
