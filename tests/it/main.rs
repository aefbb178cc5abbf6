//! What the gate does, seen from outside.

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
