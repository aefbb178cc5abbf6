//! Documents that are fetched from the issuer in the background: its keys and its revocation list.

use bytes::Bytes;

use super::keyring::{self, Keyring};
use crate::license::{Keys, keep_jwks};
use crate::outgoing::Recipient;
use crate::store::{Document, Housekeeping, RevokeError, Writer};

/// Receives the content of `license.jwks_url`.
#[derive(Debug)]
pub struct RemoteKeys {
    /// The URL.
    pub url: String,
    /// Takes the keys.
    pub keyring: Keyring,
    /// Stores a copy for a start without the issuer.
    pub housekeeping: Housekeeping,
}

impl Recipient for RemoteKeys {
    async fn take(&mut self, content: Bytes) -> Result<(), String> {
        let (keys, faults) =
            Keys::from_jwks(&content).map_err(|fault| format!("the JWKS {}", one_line(fault)))?;
        if keys.is_empty() {
            return Err("the JWKS contains no usable key".to_owned());
        }
        let number = keys.len();
        keyring::log_faults(faults);
        keyring::log_rekeyed(&self.keyring.url(keys).await);
        tracing::info!(keys = number, "the issuer's keys were fetched");
        let Some(kept) = keep_jwks(&self.url, &content) else { return Ok(()) };
        if let Err(error) = self.housekeeping.keep_document(Document::Jwks, kept).await {
            let error = one_line(error);
            tracing::warn!(
                event = "keys.not_kept",
                error,
                "the issuer's keys could not be stored for the next start"
            );
        }
        Ok(())
    }
}

/// Receives the content of `license.revocations`, if that is a URL.
#[derive(Debug)]
pub struct RemoteRevocations {
    /// Takes the list.
    pub writer: Writer,
}

impl Recipient for RemoteRevocations {
    async fn take(&mut self, content: Bytes) -> Result<(), String> {
        match self.writer.revoke(content.to_vec()).await {
            Ok(()) => {
                tracing::info!("the revocation list was fetched");
                Ok(())
            }
            Err(RevokeError::Refused(error)) => Err(one_line(error)),
            Err(error @ (RevokeError::NotStored(_) | RevokeError::Interrupted(_))) => {
                Err(one_line(error))
            }
        }
    }
}

fn one_line(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
