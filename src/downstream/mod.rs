//! The client's side: how bytes on a socket become requests. Knows no license.
mod config;
pub use config::{Config, Limits, Listen, Scheme, Timeouts, TlsFiles};
