//! Responses: the gate's client beside hyper's.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "more is asked of generated responses")]
#[path = "../responses.rs"]
mod responses;
#[allow(dead_code, reason = "what generates messages is for others")]
#[path = "../spoil.rs"]
mod spoil;

fuzz_target!(|data: &[u8]| responses::check(data));
