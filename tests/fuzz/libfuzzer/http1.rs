//! Compares HTTP/1.1 with hyper. If the first byte of an input is even, the rest are requests, otherwise a response.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../hypers_server.rs"]
mod hypers_server;
#[path = "../pieces.rs"]
mod pieces;
#[path = "../requests.rs"]
mod requests;
#[path = "../responses.rs"]
mod responses;

fuzz_target!(|data: &[u8]| match data.split_first() {
    Some((kind, data)) if kind % 2 == 0 => requests::check(data),
    Some((_, data)) => responses::check(data),
    None => {}
});
