//! HTTP/2 clients: with prior knowledge, and by ALPN over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{stage, stage_with};
use crate::support::origin::Call;
use crate::support::wire::Wire;

type Client = SendRequest<Empty<Bytes>>;

async fn connect(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (client, connection) =
        handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

/// Sends a request, while `play` is the dashboard.
async fn asked(
    client: &mut Client,
    request: Request<Empty<Bytes>>,
    play: impl FnOnce() + Send + 'static,
) -> Response<Incoming> {
    let played = tokio::task::spawn_blocking(play);
    let answer = client.send_request(request).await.expect("an answer");
    played.await.expect("played");
    answer
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

fn whole(builder: http::request::Builder) -> Request<Empty<Bytes>> {
    builder.body(Empty::new()).expect("a request")
}

#[tokio::test]
async fn a_request_is_forwarded_as_http_1_with_its_cookies_in_one_line() {
    let (origin, gate) = stage();
    let mut client = connect(gate.address).await;
    let request =
        whole(get("http://dash.example/x?y=%20").header("cookie", "a=1").header("cookie", "b=2"));
    let answer = asked(&mut client, request, move || {
        let arrived = origin.accept().serve("body");
        assert_eq!(arrived.start, "GET /x?y=%20 HTTP/1.1");
        assert_eq!(arrived.field("host"), "dash.example");
        assert_eq!(arrived.field("cookie"), "a=1; b=2");
    });
    let answer = answer.await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!(answer.into_body().collect().await.expect("whole").to_bytes(), "body");
}

#[tokio::test]
async fn trailers_reach_the_client_without_framing_fields() {
    let (origin, gate) = stage();
    let mut client = connect(gate.address).await;
    let answer = asked(&mut client, whole(get("http://d/")), move || {
        let mut call = origin.accept();
        call.request();
        call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nGrpc-Status: 0\r\nHost: evil\r\n\r\n");
    });
    let collected = answer.await.into_body().collect().await.expect("whole");
    let trailers = collected.trailers().expect("trailers");
    assert_eq!(trailers.get("grpc-status").expect("there"), "0");
    assert!(!trailers.contains_key("host"));
}

#[tokio::test]
async fn a_truncated_response_resets_only_its_stream() {
    let (origin, gate) = stage();
    let mut client = connect(gate.address).await;
    let play = move || {
        let mut call: Call = origin.accept();
        call.request();
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        drop(call);
        origin
    };
    let (sent, kept) = std::sync::mpsc::channel();
    let answer =
        asked(&mut client, whole(get("http://d/")), move || sent.send(play()).expect("kept"));
    assert!(answer.await.into_body().collect().await.is_err());
    let origin = kept.recv().expect("the dashboard");
    let next =
        asked(&mut client, whole(get("http://d/")), move || drop(origin.accept().serve("next")));
    assert_eq!(next.await.into_body().collect().await.expect("whole").to_bytes(), "next");
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let (_origin, gate) = stage();
    let mut client = connect(gate.address).await;
    for (request, status) in [
        (get("http://a/").header("host", "b"), StatusCode::BAD_REQUEST),
        (
            get("http://a/").header("content-length", "0").header("content-length", "00"),
            StatusCode::BAD_REQUEST,
        ),
        (get("http://a/api/%6cicensing/token"), StatusCode::BAD_REQUEST),
        (get("http://u@a/"), StatusCode::BAD_REQUEST),
        (get("http://a/api/licensing/nothing"), StatusCode::NOT_FOUND),
    ] {
        let shown = format!("{request:?}");
        let answer = client.send_request(whole(request)).await.expect("an answer");
        assert_eq!(answer.status(), status, "{shown}");
    }
}

fn certificate(dir: &std::path::Path) -> Arc<ClientConfig> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(dir.join("tls.pem"), pair.cert.pem()).expect("written");
    std::fs::write(dir.join("tls.key"), pair.signing_key.serialize_pem()).expect("written");
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().expect("versions");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn over_tls_the_client_chooses_by_alpn() {
    let files = tempfile::tempdir().expect("a directory");
    let config = certificate(files.path());
    let (origin, gate) = stage_with(|gate| {
        let gate = gate.set("server.tls.cert_file", format!("{:?}", files.path().join("tls.pem")));
        let gate = gate.set("server.tls.key_file", format!("{:?}", files.path().join("tls.key")));
        gate.set("timeouts.tls_handshake", "\"300ms\"")
    });
    let h1 = config.clone();
    let address = gate.address;
    let origin = tokio::task::spawn_blocking(move || {
        let mut client = Wire::connect_tls(address, h1);
        client.get("/");
        let mut call = origin.accept();
        assert_eq!(call.serve("h1").field("x-forwarded-proto"), "https");
        assert_eq!(client.answer().text(), "h1");
        // A client without a handshake is closed.
        Wire::connect(address).ends();
        drop(call);
        origin
    });
    let origin = origin.await.expect("served");

    let mut h2 = ClientConfig::clone(&config);
    h2.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(gate.address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(h2)).connect(name, stream).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = whole(get("https://localhost/"));
    let answer = asked(&mut client, request, move || drop(origin.accept().serve("h2")));
    assert_eq!(answer.await.into_body().collect().await.expect("whole").to_bytes(), "h2");
}
