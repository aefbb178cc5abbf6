//! The settings of `[license]`, and the policy that every verified license is checked against.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::revocations::{Revocations, Revoked};
use super::root_url::RootUrl;

/// Settings of `[license]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// JWKS file, PEM public key, or a directory of them. Default `certs/issuer`.
    pub keys: PathBuf,
    /// Whether `keys` is set. If it is set and missing, that is an error; if the default is missing, a warning.
    pub keys_named: bool,
    /// URL of a JWKS with further keys. Default `None`.
    pub jwks_url: Option<Uri>,
    /// A read-only license file, such as a mounted secret. Default `None`.
    pub file: Option<PathBuf>,
    /// Source of the revocation list. Default `None`: only what was revoked before stays revoked.
    pub revocations: Option<RevocationList>,
    /// Accepted `iss`. Default empty: any issuer with a trusted key.
    pub issuers: Vec<String>,
    /// A product that must be in `prod`. Default empty: not checked.
    pub product: String,
    /// Clock skew tolerated on `nbf` and `exp`. Default 60 s. RFC 7519 section 4.1.4.
    pub leeway: Duration,
}

/// Source of the revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationList {
    /// A file, which may appear later.
    File(PathBuf),
    /// An `http://` or `https://` URL.
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

/// What a license is checked against.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The root URL of this instance; `sub` must cover it.
    pub root_url: RootUrl,
    /// Accepted `iss`; empty: any issuer with a trusted key.
    pub issuers: Vec<String>,
    /// A product that must be in `prod`; `None`: not checked.
    pub product: Option<String>,
    /// Clock skew tolerated on `nbf` and `exp`. RFC 7519 section 4.1.4.
    pub leeway: Duration,
    /// Revoked tokens and licenses; empty by default.
    pub revoked: Arc<Revoked>,
}

impl Policy {
    /// The policy of the instance at `root_url` with these settings.
    pub fn new(root_url: RootUrl, config: &Config) -> Self {
        Self {
            root_url,
            issuers: config.issuers.clone(),
            product: Some(config.product.clone()).filter(|product| !product.is_empty()),
            leeway: config.leeway,
            revoked: Arc::default(),
        }
    }

    /// The same policy with the revocations of `list`.
    #[must_use]
    pub fn revoking(self, list: Option<&Revocations>) -> Self {
        let revoked = list.map(|list| list.revoked().clone()).unwrap_or_default();
        Self { revoked, ..self }
    }
}
