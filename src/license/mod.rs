//! The domain: what a license token says, whether it may be believed, and where it stands in time.
mod config;
pub use config::Config;
