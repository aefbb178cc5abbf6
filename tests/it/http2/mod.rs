//! HTTP/2 on both sides, frame by frame.

mod ambiguous;
mod clients;
mod ends;
mod refusals;
mod upstream;
mod upstream_tls;
mod websocket;
mod windows;

use crate::support::gate::{Builder, Gate};
use crate::support::h2::Conn;
use crate::support::origin::Origin;

/// A gate in front of an HTTP/1.1 dashboard that the test controls.
fn stage() -> (Origin, Gate) {
    stage_with(|gate| gate)
}

/// A gate with other settings.
fn stage_with(settings: impl FnOnce(Builder) -> Builder) -> (Origin, Gate) {
    let origin = Origin::start();
    let gate = settings(Builder::before(origin.address)).start();
    (origin, gate)
}

/// A gate in front of an HTTP/2 dashboard that the test controls.
fn stage_h2() -> (Origin, Gate) {
    stage_h2_with(|gate| gate)
}

fn stage_h2_with(settings: impl FnOnce(Builder) -> Builder) -> (Origin, Gate) {
    stage_with(|gate| settings(gate.set("upstream.http2", true)))
}

/// The next connection from the gate to the dashboard.
fn accept(origin: &Origin) -> Conn {
    Conn::serve(origin.socket(), &[])
}
