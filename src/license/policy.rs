//! What a verified license is held against here.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::claims::Claims;
use super::config::Config;
use super::revocations::Revocations;
use super::root_url::RootUrl;

/// What this instance asks of a license.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What this instance is called; `sub` must cover it.
    pub root_url: RootUrl,
    /// Accepted `iss`; empty: any whose key is trusted.
    pub issuers: Vec<String>,
    /// A product that must be in `prod`; `None`: not asked.
    pub product: Option<String>,
    /// Clock skew tolerated on `nbf` and `exp`. RFC 7519 section 4.1.4.
    pub leeway: Duration,
    /// What the issuer took back; nothing by default.
    pub revoked: Arc<Revoked>,
}

impl Policy {
    /// The policy of an instance called `root_url`, set up by `config`.
    pub fn new(root_url: RootUrl, config: &Config) -> Self {
        Self {
            root_url,
            issuers: config.issuers.clone(),
            product: Some(config.product.clone()).filter(|product| !product.is_empty()),
            leeway: config.leeway,
            revoked: Arc::default(),
        }
    }

    /// The same with what `list` takes back.
    #[must_use]
    pub fn revoking(self, list: Option<&Revocations>) -> Self {
        let revoked = list.map(|list| list.revoked().clone()).unwrap_or_default();
        Self { revoked, ..self }
    }
}

/// Tokens and licenses the issuer took back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Token ids.
    pub jti: HashSet<String>,
    /// License ids, as text.
    pub lid: HashSet<String>,
}

impl Revoked {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.jti.is_empty() && self.lid.is_empty()
    }

    /// What of `claims` is revoked: the `license`, or the `token` alone.
    pub fn covers(&self, claims: &Claims) -> Option<&'static str> {
        if self.lid.contains(&claims.lid) {
            return Some("license");
        }
        claims.jti.as_ref().filter(|jti| self.jti.contains(*jti)).map(|_| "token")
    }
}
