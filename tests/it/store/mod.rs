//! The store: whatever happens, a restart loads the change that was answered last.

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
