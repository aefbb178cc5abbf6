//! What is kept: the license in force, in memory for readers and on disk for the next start.
mod config;
pub use config::Config;
