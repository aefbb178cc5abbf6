//! Stands in for the gate until it is there.

use std::net::SocketAddr;

use crate::config::Config;

/// A gate that can start.
#[derive(Debug)]
pub struct App(Config);

/// Why it cannot.
#[derive(Debug, thiserror::Error)]
#[error("not built yet")]
pub struct Error;

impl Error {
    /// 1 bad configuration, 2 cannot bind or start.
    pub fn exit_code(&self) -> u8 {
        2
    }
}

impl App {
    /// Binds and loads.
    ///
    /// # Errors
    /// Always, so far.
    pub async fn build(_config: Config) -> Result<Self, Error> {
        Err(Error)
    }

    /// Bound addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.downstream.listen.iter().map(|listen| listen.address).collect()
    }

    /// Serves.
    pub async fn run(self) {}
}
