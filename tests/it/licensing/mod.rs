//! Licenses: what the API answers, whom it answers, and what is kept.

mod answers;
mod asking;
mod bodies;
mod callers;
mod clock;
mod history;
mod keys;
mod limits;
mod local;
mod origin;
mod panics;
mod paths;
mod proxied;
mod removal;
mod renewal;
mod revocations;
mod schedule;
mod secrets;
mod sources;
mod standing;
mod start;
mod stats;
mod storage;
mod swaps;
mod tokens;
mod year;
