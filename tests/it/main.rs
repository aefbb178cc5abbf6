//! What the gate does, seen from outside.

mod cli;
mod forwarding;
mod licensing;
mod support;
mod transports;
