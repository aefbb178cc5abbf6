//! The gate, tested from outside.
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

mod cli;
mod formats;
mod forwarding;
mod http2;
#[path = "../fuzz/hypers_server.rs"]
mod hypers_server;
mod licensing;
mod operation;
mod parser;
mod rules;
mod store;
mod support;
mod transports;
