//! A dashboard behind TLS: ALPN decides whether the gate uses HTTP/2.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use crate::support::gate::{Builder, Gate};
use crate::support::h2::Conn;
use crate::support::origin::Origin;
use crate::support::wire::Wire;

/// The TLS configuration of a dashboard with these ALPN `protocols`; its certificate is written to `dir` as `ca.pem`.
fn tls(dir: &Path, protocols: &[&str]) -> Arc<ServerConfig> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(dir.join("ca.pem"), pair.cert.pem()).expect("written");
    let key = PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let config = config.with_no_client_auth();
    let chain = vec![pair.cert.der().clone()];
    let mut config = config.with_single_cert(chain, key).expect("a pair");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

struct Stage {
    origin: Origin,
    gate: Gate,
    tls: Arc<ServerConfig>,
    _dir: tempfile::TempDir,
}

fn stage(protocols: &[&str]) -> Stage {
    let (origin, dir) = (Origin::start(), tempfile::tempdir().expect("a directory"));
    let tls = tls(dir.path(), protocols);
    let url = format!("https://localhost:{}", origin.address.port());
    let gate = Builder::before(origin.address)
        .set("upstream.url", format!("{url:?}"))
        .set("upstream.http2", true)
        .set("upstream.tls.ca_file", format!("{:?}", dir.path().join("ca.pem")))
        .start();
    Stage { origin, gate, tls, _dir: dir }
}

#[test]
fn alpn_h2_is_http_2() {
    let stage = stage(&["h2", "http/1.1"]);
    let mut client = Wire::connect(stage.gate.address);
    client.get("/secret");
    let mut dashboard = Conn::serve_tls(stage.origin.socket(), stage.tls, &[]);
    for round in ["one", "two"] {
        let arrived = dashboard.whole();
        assert_eq!(
            (arrived.field(":scheme"), arrived.field(":path")),
            ("https".into(), "/secret".into())
        );
        dashboard.answer(arrived.stream, round);
        assert_eq!(client.answer().text(), round);
        client.get("/secret");
    }
}

#[test]
fn alpn_http_1_1_or_none_is_http_1_1_on_pooled_connections() {
    for protocols in [&["http/1.1"][..], &[]] {
        let stage = stage(protocols);
        let mut client = Wire::connect(stage.gate.address);
        client.get("/");
        let mut call = stage.origin.accept_tls(stage.tls.clone());
        for round in ["one", "two"] {
            assert_eq!(call.serve(round).start, "GET / HTTP/1.1");
            assert_eq!(client.answer().text(), round);
            client.get("/");
        }
        call.serve("three");
        client.answer();
    }
}

#[test]
fn a_websocket_uses_http_1_1() {
    let stage = stage(&["h2", "http/1.1"]);
    let mut client = Wire::connect(stage.gate.address);
    client.send(
        "GET /live HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: k\r\n\r\n",
    );
    let mut call = stage.origin.accept_tls(stage.tls);
    assert_eq!(call.head().field("upgrade"), "websocket");
    call.send("HTTP/1.1 101 -\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(2), b"hi");
}

#[test]
fn an_untrusted_certificate_is_502_for_all_waiting_requests() {
    let stage = stage(&["h2"]);
    let other = tempfile::tempdir().expect("a directory");
    let stranger = tls(other.path(), &["h2"]);
    let mut clients: Vec<_> = (0..3).map(|_| Wire::connect(stage.gate.address)).collect();
    clients.iter_mut().for_each(|client| client.get("/"));
    let shaking = std::thread::spawn({
        let origin = stage.origin;
        move || while origin.fails_handshake(&stranger) {}
    });
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!(answer.status(), 502);
        assert!(answer.field("proxy-status").contains("tls_certificate_error"), "{answer:?}");
    }
    drop(shaking);
}
