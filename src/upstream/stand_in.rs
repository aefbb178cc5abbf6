//! Stand-in until the dashboard's side is built.
use bytes::Bytes;
use std::io;

/// Asks the dashboard.
#[derive(Clone, Debug)]
pub struct Client;
impl Client {
    /// One whole small answer.
    pub async fn fetch(
        &self,
        _request: http::Request<()>,
        _limit_bytes: usize,
    ) -> Result<http::Response<Bytes>, Error> {
        Err(Error::Closed)
    }
}
/// What can go wrong with the dashboard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("cannot connect")]
    Connect {
        /// Why.
        source: io::Error,
    },
    /// No connection in time.
    #[error("connect timed out")]
    ConnectTimeout,
    /// No answer in time.
    #[error("no answer in time")]
    HeaderTimeout,
    /// Closed.
    #[error("closed")]
    Closed,
    /// IO.
    #[error("io")]
    Io(#[source] io::Error),
    /// Not HTTP.
    #[error("not HTTP: {0}")]
    Nonsense(&'static str),
    /// The request's body failed.
    #[error("request body")]
    RequestBody(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too large.
    #[error("too large")]
    TooLarge,
}
