//! The text of a renewal request, which the operator of a gate without a connection to the issuer sends to the issuer.
//!
//! One JSON object. It contains the license token, whose signature proves the request to the issuer. The other members are
//! for people, and must agree with the token. The request is a credential, like the license.

use serde::Serialize;

use super::claims::Claims;
use super::root_url::RootUrl;
use super::verify::License;
use crate::clock::UnixTime;

/// `typ` of a request.
pub const REQUEST_TYP: &str = "license-gate-renewal-request";
/// `version` of a request.
pub const REQUEST_VERSION: u64 = 1;

#[derive(Serialize)]
struct Shape<'a> {
    typ: &'static str,
    version: u64,
    created: String,
    instance: String,
    lid: &'a str,
    jti: Option<&'a str>,
    seats: Option<i64>,
    token: &'a str,
}

/// The text of a request by `instance` to renew `license`.
pub fn renewal_request(license: &License, instance: &RootUrl, now: UnixTime) -> String {
    let Claims { lid, jti, included_users: seats, .. } = license.claims();
    let shape = Shape {
        typ: REQUEST_TYP,
        version: REQUEST_VERSION,
        created: now.to_string(),
        instance: instance.to_string(),
        lid,
        jti: jti.as_deref(),
        seats: *seats,
        token: license.token().as_str(),
    };
    // Cannot fail: text and numbers always serialise.
    serde_json::to_string_pretty(&shape).unwrap_or_default() + "\n"
}
