//! What the gate does, seen from outside.
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

mod cli;
mod forwarding;
mod http2;
mod licensing;
mod operation;
mod oracle;
mod parser;
mod store;
mod support;
mod transports;
