//! The fetch loop against a scripted server, with a manual clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::outgoing::{Client, Config, Proxies};

const START: u64 = 1_800_000_000;

/// Sends scripted answers in turn and records the requests.
struct Server {
    answers: Arc<Mutex<VecDeque<String>>>,
    heads: mpsc::UnboundedReceiver<String>,
    /// One for each answer that may be sent.
    permits: Arc<Semaphore>,
    url: http::Uri,
}

/// A running [`Fetch`] and its server.
struct Bench {
    server: Server,
    clock: Clock,
    early: Refresher,
    taken: Arc<Mutex<Vec<Bytes>>>,
    running: JoinHandle<()>,
}

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        // With a single subscriber, a call site that another thread reaches first, without a subscriber, would be disabled.
        static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| {
            tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish())
        });
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time();
        tracing::subscriber::set_default(subscriber.with_writer(move || log.clone()).finish())
    }

    fn lines(&self) -> Vec<String> {
        let log = self.0.lock().expect("a lock");
        String::from_utf8_lossy(&log).lines().map(str::to_owned).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Accepts all content except what starts with "bad".
struct Choosy(Arc<Mutex<Vec<Bytes>>>);

impl Recipient for Choosy {
    async fn take(&mut self, content: Bytes) -> Result<(), String> {
        if content.starts_with(b"bad") {
            return Err(format!("unusable content of {} bytes", content.len()));
        }
        self.0.lock().expect("a lock").push(content);
        Ok(())
    }
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, heads) = mpsc::unbounded_channel();
        let answers = Arc::<Mutex<VecDeque<String>>>::default();
        let permits = Arc::new(Semaphore::new(1000));
        let (script, allowed) = (answers.clone(), permits.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let (mut head, mut reader) = (String::new(), BufReader::new(&mut stream));
                while !head.ends_with("\r\n\r\n") {
                    assert!(reader.read_line(&mut head).await.expect("a line") > 0, "broke off");
                }
                sender.send(head.to_ascii_lowercase()).expect("a test");
                allowed.acquire().await.expect("open").forget();
                let answer = script.lock().expect("a lock").pop_front().expect("an answer");
                // The client may have closed the connection.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let url = format!("http://{address}/doc?k=v").parse().expect("a URL");
        Self { answers, heads, permits, url }
    }
}

impl Bench {
    /// Starts the fetch; the first answer is `first`.
    async fn start(first: String) -> Self {
        let server = Server::start().await;
        server.answers.lock().expect("a lock").push_back(first);
        let clock = Clock::manual(UnixTime::from_secs(START));
        let client = Client::new(&Config::default(), Proxies::none(), clock.clone());
        let key = "license.jwks_url";
        let endpoint = client.endpoint(key, key, &server.url).expect("an endpoint");
        let taken = Arc::<Mutex<Vec<Bytes>>>::default();
        let (fetch, early) = Fetch::new(key, endpoint, Choosy(taken.clone()), clock.clone());
        let fetch = Fetch { fraction: || 0.0, ..fetch };
        let running = tokio::spawn(fetch.run());
        Self { server, clock, early, taken, running }
    }

    /// The next request, once its answer has been processed.
    async fn asked(&mut self) -> String {
        let head = self.server.heads.recv().await.expect("a server");
        self.clock.settled(1).await;
        head
    }

    fn will_answer(&self, answer: String) {
        self.server.answers.lock().expect("a lock").push_back(answer);
    }

    fn pass(&self, seconds: u64) {
        self.clock.set(self.clock.now().saturating_add(Duration::from_secs(seconds)));
    }

    /// Asserts that the next request is sent after exactly `seconds`, and answers it with `answer`.
    async fn asks_after(&mut self, seconds: u64, answer: String) -> String {
        self.will_answer(answer);
        self.pass(seconds - 1);
        self.clock.settled(1).await;
        assert!(self.server.heads.try_recv().is_err(), "asked before {seconds} s");
        self.pass(1);
        self.asked().await
    }

    fn taken(&self) -> Vec<Bytes> {
        self.taken.lock().expect("a lock").clone()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn ok(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
}

fn status(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\n\r\n")
}

#[tokio::test]
async fn a_document_is_fetched_at_once_and_again_when_its_lifetime_ends() {
    let mut bench = Bench::start(ok("Cache-Control: max-age=600\r\nAge: 100\r\n", "one")).await;
    let head = bench.asked().await;
    assert!(head.starts_with("get /doc?k=v http/1.1\r\n"), "{head}");
    assert!(!head.contains("if-none-match"), "{head}");
    assert_eq!(bench.taken(), ["one"]);
    bench.asks_after(500, ok("", "two")).await;
    bench.asks_after(3600, ok("Cache-Control: no-store\r\n", "two")).await;
    bench.asks_after(300, ok("Cache-Control: max-age=1\r\n", "three")).await;
    bench.asks_after(60, ok("", "two")).await;
    assert_eq!(bench.taken(), ["one", "two", "three", "two"], "the same again is not new");
}

#[tokio::test]
async fn an_unchanged_document_is_not_sent_again() {
    let first = ok("ETag: W/\"a\"\r\nCache-Control: max-age=120\r\n", "one");
    let mut bench = Bench::start(first).await;
    bench.asked().await;
    let unchanged = || status("304 Not Modified");
    let head = bench.asks_after(120, unchanged()).await;
    assert!(head.contains("\r\nif-none-match: w/\"a\"\r\n"), "{head}");
    let longer = status("304 Not Modified\r\nCache-Control: max-age=240");
    bench.asks_after(120, longer).await;
    let head = bench.asks_after(240, ok("ETag: \"b\"\r\n", "two")).await;
    assert!(head.contains("\r\nif-none-match: w/\"a\"\r\n"), "{head}");
    let head = bench.asks_after(3600, ok("", "three")).await;
    assert!(head.contains("\r\nif-none-match: \"b\"\r\n"), "{head}");
    // The request was not conditional, so that 304 is an error.
    bench.asks_after(3600, unchanged()).await;
    bench.asks_after(10, ok("", "three")).await;
    assert_eq!(bench.taken(), ["one", "two", "three"]);
}

#[tokio::test]
async fn failures_back_off_and_keep_the_last_content() {
    let mut bench = Bench::start(ok("", "one")).await;
    bench.asked().await;
    let too_large = ok("", &"x".repeat(MAX_DOCUMENT_BYTES + 1));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX_DOCUMENT_BYTES + 1));
    let failures = [
        (3600, status("404 Not Found")),
        (10, status("302 Found\r\nLocation: /elsewhere")),
        (20, status("206 Partial Content")),
        (40, "SSH-2.0-x\r\n\r\n".into()),
        (80, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".into()),
        (160, too_large),
        (320, endless),
        (640, status("500 Oops")),
        (1280, status("500 Oops")),
        (2560, String::new()),
        (3600, ok("", "bad")),
    ];
    for (wait, answer) in failures {
        bench.asks_after(wait, answer).await;
    }
    assert_eq!(bench.taken(), ["one"]);
    bench.asks_after(3600, ok("", "two")).await;
    bench.asks_after(3600, status("500 Oops")).await;
    bench.asks_after(10, ok("", "two")).await;
    assert_eq!(bench.taken(), ["one", "two"]);
}

#[tokio::test]
async fn a_document_of_the_largest_size_is_taken() {
    let largest = "x".repeat(MAX_DOCUMENT_BYTES);
    let mut bench = Bench::start(ok("", &largest)).await;
    bench.asked().await;
    assert_eq!(bench.taken(), [largest]);
}

#[tokio::test]
async fn content_that_cannot_be_used_is_a_failure_and_its_etag_is_not_kept() {
    let mut bench = Bench::start(ok("ETag: \"a\"\r\n", "one")).await;
    bench.asked().await;
    bench.asks_after(3600, ok("ETag: \"b\"\r\nCache-Control: max-age=9999\r\n", "bad")).await;
    let head = bench.asks_after(10, ok("ETag: \"b\"\r\n", "bad")).await;
    assert!(head.contains("\r\nif-none-match: \"a\"\r\n"), "{head}");
    bench.asks_after(20, status("304 Not Modified")).await;
    bench.asks_after(3600, ok("", "one")).await;
    assert_eq!(bench.taken(), ["one"]);
}

#[tokio::test]
async fn retry_after_is_honored() {
    let mut bench = Bench::start(status("503 Away\r\nRetry-After: 900")).await;
    bench.asked().await;
    bench.early.refresh().await;
    // `Retry-After` counts for at most a day and never shortens the backoff.
    bench.asks_after(900, status("503 Away\r\nRetry-After: 1")).await;
    bench.asks_after(20, status("429 Slow\r\nRetry-After: 999999")).await;
    bench.pass(60);
    bench.early.refresh().await;
    bench.asks_after(86_400 - 60, ok("", "one")).await;
    assert_eq!(bench.taken(), ["one"]);
}

#[tokio::test]
async fn early_fetches_are_shared_and_at_most_one_a_minute() {
    let mut bench = Bench::start(ok("", "one")).await;
    bench.asked().await;
    bench.will_answer(ok("", "two"));
    let early = || bench.early.refresh();
    tokio::join!(early(), early(), early(), early());
    assert_eq!(bench.taken(), ["one", "two"]);
    bench.asked().await;
    bench.pass(59);
    bench.early.refresh().await;
    assert!(bench.server.heads.try_recv().is_err(), "asked twice within a minute");
    bench.pass(1);
    bench.will_answer(status("500 Oops"));
    bench.early.refresh().await;
    bench.asked().await;
    assert_eq!(bench.taken(), ["one", "two"]);
    // The next fetch is scheduled from the early one.
    bench.asks_after(10, ok("", "three")).await;
    bench.asks_after(3600, ok("", "three")).await;
}

#[tokio::test]
async fn an_early_fetch_during_a_fetch_waits_for_it() {
    let bench = Bench::start(ok("", "one")).await;
    bench.server.permits.forget_permits(1000);
    let mut bench = bench;
    bench.server.heads.recv().await.expect("asked");
    let (early, taken) = (bench.early.clone(), bench.taken.clone());
    let waiting = tokio::spawn(async move {
        early.refresh().await;
        taken.lock().expect("a lock").clone()
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    bench.server.permits.add_permits(1000);
    assert_eq!(waiting.await.expect("ended"), ["one"]);
    bench.clock.settled(1).await;
    assert!(bench.server.heads.try_recv().is_err(), "asked twice");
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_block_early_fetches() {
    let mut bench = Bench::start(ok("", "one")).await;
    bench.asked().await;
    bench.will_answer(ok("", "two"));
    bench.early.refresh().await;
    bench.asked().await;
    bench.clock.set(UnixTime::from_secs(START - 86_400));
    bench.will_answer(ok("", "three"));
    bench.early.refresh().await;
    assert_eq!(bench.taken(), ["one", "two", "three"]);
}

#[tokio::test]
async fn each_kind_of_failure_is_logged_once_until_the_next_success() {
    let log = Log::default();
    let _guard = log.listen();
    let mut bench = Bench::start(status("500 Oops")).await;
    bench.asked().await;
    bench.asks_after(10, ok("", "bad")).await;
    bench.asks_after(20, status("500 Oops")).await;
    bench.asks_after(40, ok("", "bad")).await;
    bench.asks_after(80, ok("", "one")).await;
    bench.asks_after(3600, ok("", "one")).await;
    bench.asks_after(3600, status("500 Oops")).await;
    let refused = "error=\"license.jwks_url refused with status 500\"";
    let unusable = "error=\"unusable content of 3 bytes\"";
    let lines = log.lines();
    let expected = [refused, unusable, "license.jwks_url is fetched again failures=4", refused];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{expected}: {line}");
        assert!(!line.contains("k=v"), "{line}");
    }
}

#[tokio::test]
async fn an_early_fetch_returns_at_once_if_the_loop_has_ended() {
    let mut bench = Bench::start(ok("", "one")).await;
    bench.asked().await;
    bench.running.abort();
    bench.early.refresh().await;
}
