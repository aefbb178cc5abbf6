//! What this instance accepts: the settings of `[license]`, and the policy that every verified license is checked against.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::revocations::{Revocations, Revoked};
use super::root_url::RootUrl;

/// Settings that decide which license is acceptable here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// JWKS file, PEM public key, or a directory of them. Default `certs/issuer`.
    pub keys: PathBuf,
    /// Whether `keys` was named by the operator: named and missing is an error, the default missing a warning.
    pub keys_named: bool,
    /// Where the issuer publishes its keys, as a JWKS, beside those of `keys`; `None`, the default: nowhere.
    pub jwks_url: Option<Uri>,
    /// A license that is only read, such as a mounted secret; `None`, the default: there is no such source.
    pub file: Option<PathBuf>,
    /// Where the list of what the issuer took back is; `None`, the default: nothing is revoked but what is known already.
    pub revocations: Option<RevocationList>,
    /// Accepted `iss`; empty, the default: any whose key is trusted.
    pub issuers: Vec<String>,
    /// A product that must be in `prod`; empty, the default: not checked.
    pub product: String,
    /// Clock skew tolerated on `nbf` and `exp`. Default 60 s. RFC 7519 section 4.1.4.
    pub leeway: Duration,
}

/// Where a revocation list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationList {
    /// In a file, which may not be there yet.
    File(PathBuf),
    /// Behind an `http://` or `https://` URL.
    Url(Uri),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: "certs/issuer".into(),
            keys_named: false,
            jwks_url: None,
            file: None,
            revocations: None,
            issuers: Vec::new(),
            product: String::new(),
            leeway: Duration::from_secs(60),
        }
    }
}

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
