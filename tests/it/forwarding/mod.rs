//! Forwarding: what crosses the gate, and what does not.

mod ambiguous;
mod bodies;
mod bounds;
mod deadlines;
mod endings;
mod failures;
mod fidelity;
mod fields;
mod floods;
mod h2;
mod hops;
mod interim;
mod paths;
mod repeats;
mod senders;
mod sizes;
mod stalls;
mod stopping;
mod streams;
mod target;
mod tunnels;
mod turns;
mod unambiguous;
mod versions;
mod via;

use crate::support::gate::{Builder, Gate};
use crate::support::message::Message;
use crate::support::origin::{Origin, Recorder};
use crate::support::wire::Wire;

/// A gate with usual settings, and a dashboard that is played by hand.
fn stage() -> (Origin, Gate) {
    stage_with(|gate| gate)
}

/// A gate with settings of its own.
fn stage_with(settings: impl FnOnce(Builder) -> Builder) -> (Origin, Gate) {
    let origin = Origin::start();
    let gate = settings(Builder::before(origin.address)).start();
    (origin, gate)
}

/// A gate before a dashboard that answers everything by itself.
fn recorded() -> (Recorder, Gate) {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).start();
    (recorder, gate)
}

/// Sends `request` through the gate, has it answered with 200; what arrived.
fn forwarded(origin: &Origin, gate: &Gate, request: impl AsRef<[u8]>) -> Message {
    let mut client = Wire::connect(gate.address);
    client.send(request);
    let arrived = origin.accept().serve("");
    assert_eq!(client.answer().status(), 200);
    arrived
}

/// Asks through the gate, has the dashboard say `answer` and close; what the client gets.
fn answered(origin: &Origin, gate: &Gate, answer: impl AsRef<[u8]>) -> Message {
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let mut call = origin.accept();
    call.request();
    call.send(answer);
    drop(call);
    client.answer()
}
