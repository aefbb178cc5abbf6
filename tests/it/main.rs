//! What the gate does, seen from outside.

mod cli;
mod forwarding;
mod http2;
#[path = "../fuzz/hypers_server.rs"]
mod hypers_server;
mod licensing;
mod operation;
mod parser;
mod store;
mod support;
mod transports;
