//! Requests: the gate's server beside hyper's.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../hypers_server.rs"]
mod hypers_server;
#[path = "../requests.rs"]
mod requests;
#[allow(dead_code, reason = "what generates messages is for others")]
#[path = "../spoil.rs"]
mod spoil;

fuzz_target!(|data: &[u8]| requests::check(data));
