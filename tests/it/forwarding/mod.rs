//! Forwarding: what passes the gate, and what does not.

mod ambiguous;
mod backpressure;
mod bodies;
mod bounds;
mod deadlines;
mod endings;
mod failures;
mod fidelity;
mod fields;
mod going_away;
mod h2;
mod hops;
mod interim;
mod paths;
mod pipelining;
mod retries;
mod senders;
mod sizes;
mod stalls;
mod stopping;
mod streams;
mod target;
mod tunnels;
mod unambiguous;
mod versions;
mod via;

use crate::support::gate::{Builder, Gate};
use crate::support::message::Message;
use crate::support::origin::{Origin, Recorder};
use crate::support::wire::Wire;

/// A gate with the usual settings, and a dashboard that the test controls.
fn stage() -> (Origin, Gate) {
    stage_with(|gate| gate)
}

/// A gate with other settings.
fn stage_with(settings: impl FnOnce(Builder) -> Builder) -> (Origin, Gate) {
    let origin = Origin::start();
    let gate = settings(Builder::before(origin.address)).start();
    (origin, gate)
}

/// A gate in front of a dashboard that answers by itself.
fn recorded() -> (Recorder, Gate) {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).start();
    (recorder, gate)
}

/// Sends `request` through the gate, and answers it with 200. Returns the forwarded request.
fn forwarded(origin: &Origin, gate: &Gate, request: impl AsRef<[u8]>) -> Message {
    let mut client = Wire::connect(gate.address);
    client.send(request);
    let arrived = origin.accept().serve("");
    assert_eq!(client.answer().status(), 200);
    arrived
}

/// Sends a request through the gate; the dashboard sends `answer` and closes. Returns the client's response.
fn answered(origin: &Origin, gate: &Gate, answer: impl AsRef<[u8]>) -> Message {
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send(answer);
    drop(call);
    client.answer()
}
