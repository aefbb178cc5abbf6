//! What the gate does, seen from outside.

mod cli;
mod licensing;
mod support;
