//! What the gate does, seen from outside.

mod cli;
mod support;
