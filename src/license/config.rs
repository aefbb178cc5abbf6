//! Settings that decide which token is acceptable here.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

/// What a license is held against.
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
