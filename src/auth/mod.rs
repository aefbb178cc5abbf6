//! Is this caller allowed this licensing action?
mod config;
pub use config::{Config, Mode, User};
