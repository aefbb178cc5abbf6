//! What tests are made of.
#![allow(dead_code, reason = "a shelf of parts; not every part is in use at every commit")]

pub(crate) mod gate;
pub(crate) mod program;
