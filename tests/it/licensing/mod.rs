//! Licenses: what the API answers, whom it answers, and what is kept.

mod answers;
mod asking;
mod bodies;
mod callers;
mod clock;
mod limits;
mod local;
mod origin;
mod panics;
mod paths;
mod proxied;
mod removal;
mod renewal;
mod secrets;
mod standing;
mod start;
mod stats;
mod storage;
mod swaps;
mod tokens;
