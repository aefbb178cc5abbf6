//! Fuzz targets that compare the gate's HTTP/1.1 with hyper's, in both directions, and their replay with every `cargo test`.
//!
//! A target is `check(data)`: it panics if the gate accepts what hyper refuses, or reads it differently. Here it runs on the corpus, on a
//! mutated corpus, and on generated responses; in `libfuzzer/` it is guided by coverage (see its Cargo.toml). Generated requests go through
//! the whole gate in `tests/it/parser.rs`.

#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

mod generated_responses;
mod hypers_server;
mod pieces;
mod requests;
mod responses;
mod spoil;

use std::fmt;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// An input of a target, which is printed escaped.
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "b\"{}\"", self.0.escape_ascii())
    }
}

/// The corpus of a target, sorted by name.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries =
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("a file").path());
    let mut paths: Vec<_> = entries.collect();
    paths.sort();
    let inputs: Vec<_> = paths.into_iter().map(|path| fs::read(path).expect("a file")).collect();
    assert!(!inputs.is_empty(), "no corpus of {target}");
    inputs
}

/// A mutation of an input.
fn mutation() -> impl Strategy<Value = spoil::Mutation> {
    let bits = vec!["GET / HTTP/1.1\r\nHost: dash\r\n\r\n", "HTTP/1.1 200 OK\r\n", "#", "\\", "\""];
    let lines = vec![
        "Content-Length: 5\r\n",
        "Content-Length: 05\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Connection: close\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        "Host: other\r\n",
        " folded\r\n",
        "0\r\n\r\n",
    ];
    spoil::mutation(bits, lines)
}

/// A mutated input of the corpus, sometimes followed by a part of another.
fn spoiled(target: &str) -> impl Strategy<Value = Input> + use<> {
    let inputs = corpus(target);
    let parts = (select(inputs.clone()), select(inputs), any::<Index>(), any::<bool>());
    (parts, vec(mutation(), 1..5)).prop_map(|((mut input, other, at, joins), mutations)| {
        if joins {
            input.extend_from_slice(&other[at.index(other.len())..]);
        }
        mutations.iter().for_each(|mutation| mutation.on(&mut input));
        Input(input)
    })
}

/// The number of cases: `FUZZ_CASES`, or `usual`.
fn cases(usual: u32) -> ProptestConfig {
    let wanted = std::env::var("FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    spoil::settings(wanted.unwrap_or(usual))
}

#[test]
fn the_corpus_is_read_as_hyper_reads_it() {
    corpus("requests").iter().for_each(|input| requests::check(input));
    corpus("responses").iter().for_each(|input| responses::check(input));
}

proptest! {
    #![proptest_config(cases(1500))]
    #[test]
    fn mutated_requests_are_read_as_strictly(input in spoiled("requests")) {
        requests::check(&input.0);
    }

    #[test]
    fn mutated_responses_are_read_as_strictly(input in spoiled("responses")) {
        responses::check(&input.0);
    }
}
