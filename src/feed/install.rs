//! Installing a token, or putting a former one back, whose key may be younger than what is known of the issuer's keys.
//!
//! A token of an unknown `kid` has the keys behind `license.jwks_url` fetched before their time, once for however many such
//! tokens, and is judged by what came, after 5 s at the latest. Where the keys could not be fetched, the refusal says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::license::{Rejection, Token, verify};
use crate::outgoing::Early;
use crate::store::{By, ChangeError, Origin, Reader, Snapshot, Writer};

/// For keys that are being fetched, altogether.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store's changing half, and the way to newer keys.
#[derive(Clone, Debug)]
pub struct Installer {
    reader: Reader,
    writer: Writer,
    keys: Option<Early>,
}

impl Installer {
    /// `keys`: where `license.jwks_url` is fetched, if it is set.
    pub const fn new(reader: Reader, writer: Writer, keys: Option<Early>) -> Self {
        Self { reader, writer, keys }
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
        let unreached = self.prepare(&token).await;
        let installed = self.writer.install(token, by, who).await;
        installed.map_err(|error| match (error, unreached) {
            (ChangeError::Rejected(rejection), Some(why)) => rejection.unreached(&why).into(),
            (error, _) => error,
        })
    }

    /// Puts the former license called `jti` back; see [`Writer::roll_back`].
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn roll_back(&self, jti: String, who: By) -> Result<Arc<Snapshot>, ChangeError> {
        let token = self.reader.snapshot().former_called(&jti).map(|former| former.token.clone());
        let unreached = match token {
            Some(token) => self.prepare(&token).await,
            None => None,
        };
        let restored = self.writer.roll_back(jti, who).await;
        restored.map_err(|error| match (error, unreached) {
            (ChangeError::Rejected(rejection), Some(why)) => rejection.unreached(&why).into(),
            (error, _) => error,
        })
    }

    /// Sees that the key of `token` is known, as far as that can be done in 5 s. Where its keys could not be fetched: why,
    /// in a line that names their source.
    pub async fn prepare(&self, token: &Token) -> Option<String> {
        let keys = self.keys.as_ref()?;
        let in_time = timeout(PATIENCE, self.look_for_key_of(token, keys)).await.is_ok();
        if !self.lacks_key_of(token) {
            return None;
        }
        let late = || format!("{} did not answer within {} s", keys.key(), PATIENCE.as_secs());
        keys.failing().or_else(|| (!in_time).then(late))
    }

    async fn look_for_key_of(&self, token: &Token, keys: &Early) {
        // Twice, for the first may end with a request that was under way and brought what there was before.
        for _ in 0..2 {
            if !self.lacks_key_of(token) {
                return;
            }
            keys.refresh().await;
        }
    }

    fn lacks_key_of(&self, token: &Token) -> bool {
        let judged = verify(token, &self.reader.snapshot().trust().keys);
        matches!(judged, Err(Rejection::KeyUnknown { .. } | Rejection::KeysMissing))
    }

    /// Has newer keys fetched for what nobody waits for: a mounted file, a stored license, for ever.
    pub async fn fetch_wanted_keys(self) {
        let Some(keys) = &self.keys else { return };
        loop {
            self.writer.key_wanted().await;
            keys.refresh().await;
        }
    }
}
