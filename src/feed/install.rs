//! Installs a token, or restores a former one, after fetching newer keys if the token's key is unknown.
//!
//! For a token with an unknown `kid`, `license.jwks_url` is fetched early, once for concurrent tokens, for at most 5 s. Then
//! the token is verified with the available keys. If the fetch failed, the refusal states that.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::timeout;

use crate::license::{Rejection, Token, verify};
use crate::outgoing::Refresher;
use crate::store::{By, ChangeError, Expected, Origin, Reader, Snapshot, Writer};

/// Longest wait for keys.
const KEY_FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Installs tokens in the store, and fetches newer keys.
#[derive(Clone, Debug)]
pub struct Installer {
    reader: Reader,
    writer: Writer,
    keys: Arc<ArcSwapOption<Refresher>>,
}

impl Installer {
    /// `keys` fetches `license.jwks_url`, if that is set.
    pub fn new(reader: Reader, writer: Writer, keys: Option<Refresher>) -> Self {
        let keys = ArcSwapOption::new(keys.map(Arc::new));
        Self { reader, writer, keys: Arc::new(keys) }
    }

    /// Fetches unknown keys by `keys` from now on; `None`: not at all.
    pub fn set_keys(&self, keys: Option<Refresher>) {
        self.keys.store(keys.map(Arc::new));
    }

    /// The same on an `expected` revision only; see [`Writer::expecting`].
    #[must_use]
    pub fn expecting(&self, expected: Expected) -> Self {
        Self { writer: self.writer.expecting(expected), ..self.clone() }
    }

    /// Installs `token`; see [`Writer::install`].
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn install(
        &self,
        token: Token,
        by: Origin,
        who: By,
    ) -> Result<Arc<Snapshot>, ChangeError> {
        let unreachable = self.prepare(&token).await;
        let installed = self.writer.install(token, by, who).await;
        installed.map_err(|error| match (error, unreachable) {
            (ChangeError::Rejected(rejection), Some(why)) => {
                rejection.keys_unreachable(&why).into()
            }
            (error, _) => error,
        })
    }

    /// Restores the former license `jti`; see [`Writer::roll_back`].
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn roll_back(&self, jti: String, who: By) -> Result<Arc<Snapshot>, ChangeError> {
        let token = self.reader.snapshot().former_called(&jti).map(|former| former.token.clone());
        let unreachable = match token {
            Some(token) => self.prepare(&token).await,
            None => None,
        };
        let restored = self.writer.roll_back(jti, who).await;
        restored.map_err(|error| match (error, unreachable) {
            (ChangeError::Rejected(rejection), Some(why)) => {
                rejection.keys_unreachable(&why).into()
            }
            (error, _) => error,
        })
    }

    /// Fetches newer keys if the key of `token` is unknown, for at most 5 s. Returns why they could not be fetched, in one line
    /// that names the setting.
    pub async fn prepare(&self, token: &Token) -> Option<String> {
        let keys = self.keys.load_full()?;
        let in_time = timeout(KEY_FETCH_TIMEOUT, self.fetch_key_of(token, &keys)).await.is_ok();
        if !self.lacks_key_of(token) {
            return None;
        }
        let late =
            || format!("{} did not answer within {} s", keys.key(), KEY_FETCH_TIMEOUT.as_secs());
        keys.failing().or_else(|| (!in_time).then(late))
    }

    async fn fetch_key_of(&self, token: &Token, keys: &Refresher) {
        // Twice: the first call may share a fetch that began before the key was published.
        for _ in 0..2 {
            if !self.lacks_key_of(token) {
                return;
            }
            keys.refresh().await;
        }
    }

    fn lacks_key_of(&self, token: &Token) -> bool {
        let verified = verify(token, &self.reader.snapshot().trust().keys);
        matches!(verified, Err(Rejection::KeyUnknown { .. } | Rejection::KeysMissing))
    }

    /// Fetches newer keys for mounted and stored tokens with an unknown key, for ever.
    pub async fn fetch_wanted_keys(self) {
        loop {
            self.writer.key_wanted().await;
            if let Some(keys) = self.keys.load_full() {
                keys.refresh().await;
            }
        }
    }
}
