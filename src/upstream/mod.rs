//! The dashboard's side: one upstream, reached over pooled connections.
mod config;
pub use config::{Config, Origin};
