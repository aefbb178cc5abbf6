//! License bytes that nobody posted: the issuer's renewal.
mod config;
pub use config::Config;
