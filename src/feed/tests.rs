//! Renewal against an issuer on a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::*;
use crate::clock::{Clock, UnixTime};
use crate::license::{Algorithm, Config as LicenseConfig, KeyPair, Policy, RootUrl, Token};
use crate::notify::Events;
use crate::outgoing::{self, Cause, Client, Proxies};
use crate::store::{
    self, By, ChangeError, Config as StoreConfig, Expected, LicenseTrust, Origin, Store,
};

const NOW: u64 = 1_800_000_000;

struct Bench {
    store: Store,
    pair: KeyPair,
    home: tempfile::TempDir,
}

impl Bench {
    /// A gate with license `L-1`, issued at [`NOW`].
    async fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
        let root_url = RootUrl::parse("https://a.example/").expect("a root URL");
        let context = store::Context {
            trust: LicenseTrust {
                keys: Arc::new(pair.trusted()),
                policy: Policy::new(root_url, &LicenseConfig::default()).into(),
            },
            render: |_, _| Bytes::new(),
            clock: Clock::manual(UnixTime::from_secs(NOW)),
            jwks_url: None,
            history: 10,
            metrics: Arc::default(),
            control: Handle::current(),
        };
        let config = StoreConfig::file(home.path().join("data"));
        let store = store::open(&config, None, context).expect("a store");
        let this = Self { store, pair, home };
        let license = this.token("L-1", NOW);
        this.store
            .writer
            .install(license, Origin::Hand, By::itself("test"))
            .await
            .expect("installed");
        this
    }

    fn token(&self, lid: &str, iat: u64) -> Token {
        let sub = "https://a.example/";
        let claims = json!({"sub": sub, "lid": lid, "jti": "J", "iat": iat, "exp": NOW + 1000});
        self.pair.sign(&claims).expect("a token")
    }

    fn answer(&self, lid: &str, iat: u64) -> String {
        ok(&json!({"token": self.token(lid, iat).as_str()}).to_string())
    }

    fn renewal(&self, config: &Config) -> Renewal {
        self.renewal_by(config, &outgoing::Config::default())
    }

    fn renewal_by(&self, config: &Config, calls: &outgoing::Config) -> Renewal {
        let clock = Clock::manual(UnixTime::from_secs(NOW));
        let client = Client::new(calls, Proxies::none(), clock);
        let issuer = Issuer::new(config, &client).expect("set up");
        let Store { reader, writer, housekeeping, .. } = &self.store;
        let context = Context {
            reader: reader.clone(),
            installer: Installer::new(reader.clone(), writer.clone(), None),
            writer: writer.clone(),
            housekeeping: housekeeping.clone(),
            events: Events::new(None, reader.clone(), Clock::manual(UnixTime::from_secs(NOW))),
            clock: Clock::manual(UnixTime::from_secs(NOW)),
            metrics: Arc::default(),
            control: Handle::current(),
        };
        Renewal::new(issuer, context)
    }

    async fn renew(&self, answer: String) -> Result<Arc<store::Snapshot>, Arc<RenewError>> {
        let (issuer, _asked) = issuer(answer);
        self.renewal(&at(issuer)).renew(By::itself("test"), Expected::any()).await
    }
}

/// Why the call failed.
fn fault(outcome: &Result<Arc<store::Snapshot>, Arc<RenewError>>) -> Option<&Cause> {
    match error(outcome) {
        Some(RenewError::Issuer(IssuerError::Call(error))) => Some(&error.cause),
        _ => None,
    }
}

fn error(outcome: &Result<Arc<store::Snapshot>, Arc<RenewError>>) -> Option<&RenewError> {
    outcome.as_ref().err().map(|error| &**error)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn at(address: SocketAddr) -> Config {
    let url = format!("http://{address}/renew?k=v").parse().expect("a URL");
    Config { url: Some(url) }
}

/// An issuer that answers one request.
fn issuer(answer: String) -> (SocketAddr, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = sender.send(serve(&mut stream, &answer));
    });
    (address, asked)
}

fn serve(stream: &mut (impl Read + Write), answer: &str) -> (String, Value) {
    let mut reader = BufReader::new(&mut *stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("a line") > 0, "ended early");
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).expect("a body");
    stream.write_all(answer.as_bytes()).expect("written");
    stream.flush().expect("flushed");
    (head, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test]
async fn the_issuer_is_called_with_the_token_and_its_answer_is_in_force() {
    let bench = Bench::new().await;
    let (address, asked) = issuer(bench.answer("L-1", NOW + 5));
    let renewed = bench
        .renewal(&at(address))
        .renew(By::itself("test"), Expected::any())
        .await
        .expect("renewed");
    let iat = renewed.license(UnixTime::from_secs(NOW)).and_then(|license| license.claims().iat);
    assert_eq!(iat, Some(UnixTime::from_secs(NOW + 5)));

    let (head, body) = asked.recv().expect("asked");
    assert_eq!(body, json!({"instance": "https://a.example/", "lid": "L-1", "jti": "J"}));
    assert!(head.starts_with("post /renew?k=v http/1.1\r\n"), "{head}");
    let bearer = format!("authorization: bearer {}\r\n", bench.token("L-1", NOW).as_str());
    assert_eq!(head.matches("authorization: bearer ").count(), 1);
    // ES256 signatures differ each time: compare the signed part.
    let signed = bearer.rsplit_once('.').map(|(signed, _)| signed.to_ascii_lowercase());
    assert!(head.contains(&signed.expect("a signature")));
    assert!(head.contains(&format!("host: {address}\r\n")));
}

#[tokio::test]
async fn any_other_answer_leaves_the_license_in_force() {
    let bench = Bench::new().await;
    let long = "x".repeat(200 * 1024);
    let cases = [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".into(), "Refused { status: 403"),
        (
            "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".into(),
            "Refused { status: 302",
        ),
        (ok("<html>"), "Issuer(NotJson"),
        (ok("\"a.b.c\""), "Issuer(NotJson"),
        (ok("{}"), "Issuer(NotJson"),
        (ok(r#"{"token":"abc"}"#), "Issuer(Token("),
        (ok(&long), "TooLarge(131072)"),
        (format!("HTTP/1.1 200 OK\r\n\r\n{long}"), "TooLarge(131072)"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".into(), "Http("),
        ("SSH-2.0-x\r\n\r\n".into(), "Http("),
        (String::new(), "Http("),
        (bench.answer("L-1", NOW - 1), "Install(Older"),
        (bench.answer("L-2", NOW + 1), "Install(OtherLicense"),
        (Bench::new().await.answer("L-1", NOW + 1), "Install(Rejected("),
    ];
    for (answer, expected) in cases {
        let error = bench.renew(answer).await.expect_err(expected);
        let shown = format!("{error:?}");
        assert!(shown.contains(expected), "{expected}: {shown}");
        assert!(!shown.contains("a.b.c"), "{shown}");
        assert_eq!(bench.store.reader.snapshot().revision(), 1);
    }
}

#[tokio::test]
async fn an_issuer_that_is_unreachable_silent_or_not_configured() {
    let bench = Bench::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let hasty = outgoing::Config { timeout: Duration::from_millis(20), ..Default::default() };
    let late =
        bench.renewal_by(&at(address), &hasty).renew(By::itself("test"), Expected::any()).await;
    assert!(matches!(fault(&late), Some(Cause::Timeout(_))), "{late:?}");
    drop(silent);
    let away = bench.renewal(&at(address)).renew(By::itself("test"), Expected::any()).await;
    assert!(matches!(fault(&away), Some(Cause::Connect(_))), "{away:?}");
    let off = bench.renewal(&Config::default()).renew(By::itself("test"), Expected::any()).await;
    assert!(matches!(error(&off), Some(RenewError::Off)));
    bench.store.writer.remove(By::itself("test")).await.expect("removed");
    let none = bench.renewal(&at(address)).renew(By::itself("test"), Expected::any()).await;
    assert!(matches!(error(&none), Some(RenewError::NoLicense)));
}

#[tokio::test]
async fn an_answer_is_dropped_if_the_license_has_changed_meanwhile() {
    let bench = Bench::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let renewal = bench.renewal(&at(address));
    let renewing =
        tokio::spawn(async move { renewal.renew(By::itself("test"), Expected::any()).await });
    let accepted = tokio::task::spawn_blocking(move || listener.accept().expect("a connection"));
    let (mut stream, _): (TcpStream, _) = accepted.await.expect("accepted");

    let by_hand = bench.token("L-1", NOW + 1);
    bench.store.writer.install(by_hand, Origin::Hand, By::itself("test")).await.expect("installed");
    let answer = bench.answer("L-1", NOW + 9);
    tokio::task::spawn_blocking(move || serve(&mut stream, &answer)).await.expect("served");
    let outcome = renewing.await.expect("done");
    assert!(matches!(error(&outcome), Some(RenewError::Install(ChangeError::Superseded))));
    let in_force = bench.store.reader.snapshot();
    let iat = in_force.license(UnixTime::from_secs(NOW)).and_then(|license| license.claims().iat);
    assert_eq!(iat, Some(UnixTime::from_secs(NOW + 1)));
}

#[tokio::test]
async fn https_is_verified_with_the_ca_file() {
    let bench = Bench::new().await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a pair");
    let server = Arc::new(server);
    let ca_file = bench.home.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).expect("written");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = bench.answer("L-1", NOW + 5);
    thread::spawn(move || {
        for _ in 0..2 {
            let (tcp, _) = listener.accept().expect("a connection");
            let tls = rustls::ServerConnection::new(server.clone()).expect("a connection");
            let mut stream = rustls::StreamOwned::new(tls, tcp);
            // The first client hangs up when it sees the certificate.
            if stream.conn.complete_io(&mut stream.sock).is_ok() {
                serve(&mut stream, &answer);
            }
        }
    });
    let trusting = outgoing::Config { ca_file: Some(ca_file), ..Default::default() };
    let renewal = |host: &str| {
        let url = format!("https://{host}:{port}/").parse().expect("a URL");
        bench.renewal_by(&Config { url: Some(url) }, &trusting)
    };
    let other_name = renewal("127.0.0.1").renew(By::itself("test"), Expected::any()).await;
    assert!(matches!(fault(&other_name), Some(Cause::Tls(_))), "{other_name:?}");
    renewal("localhost").renew(By::itself("test"), Expected::any()).await.expect("renewed");
}

#[tokio::test]
async fn a_renewal_that_is_paused_makes_no_call_and_is_no_failure() {
    let bench = Bench::new().await;
    let (address, _asked) = issuer(bench.answer("L-1", NOW + 60));
    let renewal = bench.renewal(&at(address));
    let renew = async || renewal.renew(By::itself("test"), Expected::any()).await;
    renewal.pause().await;
    let paused = renew().await;
    assert!(matches!(error(&paused), Some(RenewError::Paused)), "{paused:?}");
    let Some(why) = error(&paused) else { unreachable!() };
    assert_eq!((why.outcome(), why.reason()), (store::Outcome::Refused, "handed-over"));
    assert!(renewal.progress().failing.is_none());
    // The issuer answers once.
    renewal.resume();
    renew().await.expect("renewed");
}

#[tokio::test]
async fn a_license_that_could_not_be_stored_because_of_an_upgrade_is_no_failure() {
    let bench = Bench::new().await;
    bench.store.writer.hand_over().await.expect("handed over");
    let (address, _asked) = issuer(bench.answer("L-1", NOW + 60));
    let renewal = bench.renewal(&at(address));
    let late = renewal.renew(By::itself("test"), Expected::any()).await;
    let Some(why) = error(&late) else { panic!("{late:?}") };
    assert!(why.is_handed_over() && why.outcome() == store::Outcome::Refused, "{why:?}");
    assert!(renewal.progress().failing.is_none());
}
