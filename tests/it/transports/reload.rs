//! Certificates that change while the gate runs.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::{dir, secured, write};
use crate::support::authority::{Authority, TLS13};
use crate::support::gate::{Builder, Gate};
use crate::support::http::request;
use crate::support::origin::{Origin, Recorder};
use crate::support::vendor::now;
use crate::support::wire::Wire;

const RELOADED: &str = "the certificate of server.tls was reloaded";
const KEPT: &str = "the certificate of server.tls was not reloaded";

/// Whether a client that trusts `authority` is served.
fn is_shown(gate: &Gate, authority: &Authority) -> bool {
    let mut client = Wire::connect_tls(gate.address, authority.client(TLS13, None));
    let sent = client.try_send("GET / HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    sent.is_ok() && client.answer().status() == 200
}

fn count(gate: &Gate, text: &str) -> usize {
    gate.log().all().iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_changed_certificate_is_used_and_connections_are_kept() {
    let (old, new, origin) = (Authority::new(), Authority::new(), Recorder::start());
    let gate = secured(origin.address, dir(), &old.issue("localhost")).start();
    let mut client = Wire::connect_tls(gate.address, old.client(TLS13, None));
    client.get("/");
    assert_eq!(client.answer().status(), 200);
    new.issue("localhost").write(gate.dir(), "tls");
    gate.log().wait_for(RELOADED);
    assert!(is_shown(&gate, &new) && !is_shown(&gate, &old));
    client.get("/");
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn a_mounted_secret_changes_by_a_symbolic_link() {
    let (old, new, origin) = (Authority::new(), Authority::new(), Recorder::start());
    let home = dir();
    for (version, authority) in [("..1", &old), ("..2", &new)] {
        std::fs::create_dir(home.path().join(version)).expect("a directory");
        authority.issue("localhost").write(&home.path().join(version), "tls");
    }
    symlink("..1", home.path().join("..data")).expect("a link");
    let gate = Builder::before(origin.address).set("server.tls.cert_file", "'..data/tls.pem'");
    let gate = gate.set("server.tls.key_file", "'..data/tls.key'").in_dir(home).start();
    assert!(is_shown(&gate, &old));
    symlink("..2", gate.dir().join("..next")).expect("a link");
    std::fs::rename(gate.dir().join("..next"), gate.dir().join("..data")).expect("swapped");
    gate.log().wait_for(RELOADED);
    assert!(is_shown(&gate, &new) && !is_shown(&gate, &old));
}

#[test]
fn a_bad_pair_is_logged_once_and_the_old_one_is_kept() {
    let (old, new, origin) = (Authority::new(), Authority::new(), Recorder::start());
    let gate = secured(origin.address, dir(), &old.issue("localhost")).start();
    let pair = new.issue("localhost");
    // The key is written later.
    write(gate.dir(), "tls.pem", &pair.cert);
    let line = gate.log().wait_for(KEPT);
    assert!(line.contains("does not belong to the certificate"), "{line}");
    assert!(is_shown(&gate, &old));
    write(gate.dir(), "tls.key", "garbage");
    gate.log().wait_for("contains no private key");
    std::fs::remove_file(gate.dir().join("tls.key")).expect("removed");
    gate.log().wait_for("tls.key cannot be read");
    assert!(is_shown(&gate, &old));
    write(gate.dir(), "tls.key", &pair.key);
    gate.log().wait_for(RELOADED);
    assert!(is_shown(&gate, &new));
    assert_eq!(count(&gate, KEPT), 3, "each content is logged once");
    assert!(!gate.log().all().iter().any(|line| line.contains("PRIVATE KEY-----")));
}

#[test]
fn an_unchanged_bad_pair_is_not_logged_again() {
    let authority = Authority::new();
    let home = dir();
    write(home.path(), "ca.pem", &authority.pem());
    let gate = secured(Origin::vacant(), home, &authority.issue("localhost"));
    let gate = gate.set("upstream.url", "'https://localhost:1'");
    let gate = gate.set("upstream.tls.ca_file", "'ca.pem'").start();
    write(gate.dir(), "tls.pem", "garbage");
    gate.log().wait_for(KEPT);
    // Both are polled at the same interval: after three changes of this one, the other was polled at least twice.
    write(gate.dir(), "ca.pem", "");
    gate.log().wait_for("upstream.tls was not reloaded");
    write(gate.dir(), "ca.pem", &authority.pem());
    gate.log().wait_for("upstream.tls was reloaded");
    std::fs::remove_file(gate.dir().join("ca.pem")).expect("removed");
    gate.log().wait_for("ca.pem cannot be read");
    assert_eq!(count(&gate, KEPT), 1);
}

#[test]
fn a_bad_pair_is_logged_again_on_sighup() {
    let (authority, origin) = (Authority::new(), Recorder::start());
    let gate = secured(origin.address, dir(), &authority.issue("localhost")).start();
    write(gate.dir(), "tls.pem", "garbage");
    gate.signal("HUP");
    gate.log().wait_for(KEPT);
    write(gate.dir(), "tls.pem", &authority.issue("localhost").cert);
    gate.signal("HUP");
    gate.log().wait_for("does not belong to the certificate");
    assert!(is_shown(&gate, &authority));
}

#[test]
fn client_authorities_are_reloaded_and_old_tickets_end() {
    let (server, old, new, origin) =
        (Authority::new(), Authority::new(), Authority::new(), Recorder::start());
    let home = dir();
    write(home.path(), "clients.pem", &old.pem());
    let gate = secured(origin.address, home, &server.issue("localhost"));
    let gate = gate.set("server.tls.client_ca_file", "'clients.pem'").start();
    let config = server.client(TLS13, Some(&old.issue("somebody")));
    let ask = |config| {
        let mut client = Wire::connect_tls(gate.address, config);
        let _ = client.try_send("GET / HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
        client.end().map(|answer| answer.starts_with(b"HTTP/1.1 200 "))
    };
    assert!(ask(config.clone()).expect("served"));
    write(gate.dir(), "clients.pem", &new.pem());
    gate.log().wait_for(RELOADED);
    // The client has a ticket from before the change.
    assert!(ask(config).expect_err("refused").to_string().contains("received fatal alert"));
    assert!(ask(server.client(TLS13, Some(&new.issue("somebody")))).expect("served"));
}

#[test]
fn sighup_reloads_at_once_and_keeps_connections() {
    let (old, new, origin) = (Authority::new(), Authority::new(), Origin::start());
    let gate = secured(origin.address, dir(), &old.issue("localhost")).start();
    let mut client = Wire::connect_tls(gate.address, old.client(TLS13, None));
    client.get("/");
    let mut call = origin.accept();
    call.request();
    new.issue("localhost").write(gate.dir(), "tls");
    gate.signal("HUP");
    gate.log().wait_for(RELOADED);
    call.answer("still here");
    assert_eq!(client.answer().text(), "still here");
    let mut other = Wire::connect_tls(gate.address, new.client(TLS13, None));
    other.get("/");
    call.serve("new");
    assert_eq!(other.answer().text(), "new");
}

#[test]
fn sighup_without_certificates_keeps_connections() {
    let origin = Origin::start();
    let gate = Builder::before(origin.address).start();
    gate.signal("HUP");
    gate.log().wait_for("SIGHUP");
    let mut client = Wire::connect(gate.address);
    client.get("/");
    origin.accept().serve("here");
    assert_eq!(client.answer().text(), "here");
}

#[test]
fn a_certificate_that_ends_while_it_is_used_is_logged_once() {
    let (authority, origin) = (Authority::new(), Recorder::start());
    let end = Duration::from_secs(now() + 3);
    let gate = secured(origin.address, dir(), &authority.issue_lasting("localhost", 1970, end));
    let gate = gate.start();
    gate.log().wait_for("event=certificate.expired");
    gate.log().wait_for("the certificate of server.tls has expired");
    // Looked at again: the next content is noticed.
    authority.issue("localhost").write(gate.dir(), "tls");
    gate.log().wait_for(RELOADED);
    assert_eq!(count(&gate, "has expired"), 1);
}

#[test]
fn an_expired_certificate_is_used_and_logged() {
    let (authority, origin) = (Authority::new(), Recorder::start());
    let gate = secured(origin.address, dir(), &authority.issue_until("localhost", 2020)).start();
    let line = gate.log().wait_for("the certificate of server.tls has expired");
    assert!(line.contains("2020-01-01T00:00:00Z"), "{line}");
    authority.issue("localhost").write(gate.dir(), "tls");
    gate.signal("HUP");
    gate.log().wait_for(RELOADED);
    assert!(is_shown(&gate, &authority));
    assert_eq!(count(&gate, "has expired"), 1);
}

#[test]
fn the_end_of_the_certificate_in_use_is_a_metric() {
    let (authority, origin) = (Authority::new(), Recorder::start());
    let admin: SocketAddr = Origin::vacant();
    let gate = secured(origin.address, dir(), &authority.issue_until("localhost", 2030));
    let gate = gate.set("admin.listen", format!("'{admin}'")).start();
    let metric = || {
        let text = request(admin, "GET", "/metrics").send().is(200).text().to_owned();
        let name = "license_gate_tls_certificate_expiry_timestamp_seconds{certificate=\"server\"} ";
        text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned))
    };
    assert_eq!(metric().as_deref(), Some("1893456000"));
    authority.issue_until("localhost", 2031).write(gate.dir(), "tls");
    gate.log().wait_for(RELOADED);
    assert_eq!(metric().as_deref(), Some("1924992000"));
}
