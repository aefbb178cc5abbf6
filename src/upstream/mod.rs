//! The dashboard's side: one upstream, reached over pooled connections.
mod config;
pub use config::{Config, Origin};
mod stand_in;
pub use stand_in::{Client, Error};
