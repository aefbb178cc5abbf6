//! Transports: TLS, Unix sockets, sockets from systemd, and which peers are trusted.

mod challenges;
mod client_certificates;
mod draining;
mod hsts;
mod plain_http;
mod proxy_protocol;
mod redirect;
mod refusals;
mod reload;
mod stopping;
mod systemd;
mod unix;
mod upstream_tls;

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::support::authority::Pair;
use crate::support::gate::Builder;

/// A directory for a gate to run in.
fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Writes a file of the gate.
fn write(dir: &Path, name: &str, content: &str) {
    std::fs::write(dir.join(name), content).expect("written");
}

/// A gate in front of `upstream` with the certificate `pair`, in `tls.pem` and `tls.key` in its directory.
fn secured(upstream: SocketAddr, dir: TempDir, pair: &Pair) -> Builder {
    pair.write(dir.path(), "tls");
    let gate = Builder::before(upstream).in_dir(dir);
    gate.set("server.tls.cert_file", "'tls.pem'").set("server.tls.key_file", "'tls.key'")
}
