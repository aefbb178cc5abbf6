//! The store: whatever comes over it, a restart finds what was answered last.

mod audit;
mod bench;
mod crash;
mod full;
mod kept;
mod kills;
mod papers;
mod planted;
mod readers;
mod story;
mod trail;
mod up;
mod world;
