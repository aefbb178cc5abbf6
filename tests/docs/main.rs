//! README, CHANGELOG and the manual, compared with the program.
//!
//! Links lead somewhere, in the repository and in rustdoc. TOML is accepted by the gate's reader, command lines by its parser.
//! Examples of output are what the program prints.
//! Lists are those of the code. `UPDATE=1 cargo test --test docs` rewrites the generated ones.
#![cfg(test)]

mod blocks;
#[path = "../../src/build.rs"]
#[allow(dead_code, reason = "its main function is Cargo's")]
mod build;
mod document;
mod links;
mod lists;
mod outputs;
mod settings;
mod source;
mod troubles;
