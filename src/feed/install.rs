//! Installing a token whose key may be younger than what is known of the issuer's keys.
//!
//! A token of an unknown `kid` has the keys behind `license.jwks_url` fetched before their time, once for however many such
//! tokens, and is judged by what came.

use std::sync::Arc;

use super::fetch::Early;
use crate::license::{Rejection, Token, verify};
use crate::store::{By, InstallError, Origin, Reader, Snapshot, Writer};

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
    /// See [`InstallError`].
    pub async fn install(
        &self,
        token: Token,
        by: Origin,
        who: By,
    ) -> Result<Arc<Snapshot>, InstallError> {
        self.prepare(&token).await;
        self.writer.install(token, by, who).await
    }

    /// Sees that the key of `token` is known, as far as it can be.
    pub async fn prepare(&self, token: &Token) {
        let Some(keys) = &self.keys else { return };
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
