//! The credential of a request: Basic, or the dashboard's session cookie.
//!
//! Basic takes precedence, as in the dashboard. Any other `Authorization` is refused and not ignored, so that a caller is never
//! authorized by a credential that it did not mean to use.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};

use super::denied::Denied;

/// The sender of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The client's address, as reported by trusted proxies.
    pub address: IpAddr,
    /// The request id, for the dashboard's log and for `traceID`.
    pub request_id: &'a str,
}

/// A credential. `Debug` shows only its kind.
#[derive(Clone)]
pub struct Credential(Kind);

#[derive(Clone)]
enum Kind {
    /// RFC 7617.
    Basic { user: String, password: String },
    /// `name=value`: only the session cookie.
    Session { cookie: HeaderValue },
}

impl Credential {
    /// The credential in `headers`. Cookies count only if `session_cookie` is set.
    pub(super) fn of(headers: &HeaderMap, session_cookie: Option<&str>) -> Result<Self, Denied> {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        match (fields.next(), fields.next()) {
            (Some(_), Some(_)) => Err(Denied::Malformed),
            (Some(field), None) => authorization(field),
            (None, _) => session_cookie
                .and_then(|name| cookie(headers, name))
                .map(|cookie| Self(Kind::Session { cookie }))
                .ok_or(Denied::NoCredentials),
        }
    }

    /// User name and password of Basic.
    pub(super) fn basic(&self) -> Option<(&str, &str)> {
        match &self.0 {
            Kind::Basic { user, password } => Some((user, password)),
            Kind::Session { .. } => None,
        }
    }

    /// Adds this credential to a request to the dashboard.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        match &self.0 {
            Kind::Basic { user, password } => {
                let field = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
                if let Ok(mut field) = HeaderValue::try_from(field) {
                    field.set_sensitive(true);
                    headers.insert(AUTHORIZATION, field);
                }
            }
            Kind::Session { cookie } => {
                headers.insert(COOKIE, cookie.clone());
            }
        }
    }

    /// A keyed hash of this credential and `context`, which reveals neither.
    pub(super) fn digest(&self, key: &hmac::Key, context: &[u8]) -> [u8; 32] {
        let mut hash = hmac::Context::with_key(key);
        let parts: [&[u8]; 3] = match &self.0 {
            Kind::Basic { user, password } => [b"basic", user.as_bytes(), password.as_bytes()],
            Kind::Session { cookie } => [b"session", cookie.as_bytes(), b""],
        };
        for part in parts.into_iter().chain([context]) {
            // The lengths distinguish `ab` + `c` from `a` + `bc`.
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.sign().as_ref());
        digest
    }
}

fn authorization(field: &HeaderValue) -> Result<Credential, Denied> {
    let field = field.to_str().map_err(|_| Denied::Malformed)?.trim();
    let (scheme, rest) = field.split_once(' ').unwrap_or((field, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Err(Denied::ServiceAccount);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Denied::Malformed);
    }
    let pair = STANDARD.decode(rest.trim()).map_err(|_| Denied::Malformed)?;
    let pair = String::from_utf8(pair).map_err(|_| Denied::Malformed)?;
    let (user, password) = pair.split_once(':').ok_or(Denied::Malformed)?;
    if user == "api_key" {
        return Err(Denied::ServiceAccount);
    }
    Ok(Credential(Kind::Basic { user: user.into(), password: password.into() }))
}

/// The first cookie `name` with a value, in all `Cookie` lines.
fn cookie(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let named = pairs.map(<[u8]>::trim_ascii).find(|pair| {
        pair.strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .is_some_and(|value| !value.is_empty())
    })?;
    let mut cookie = HeaderValue::from_bytes(named).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            Kind::Basic { .. } => "Basic(...)",
            Kind::Session { .. } => "Session(...)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &str)]) -> Result<HeaderMap, Denied> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::try_from(*value).expect("a value"));
        }
        let mut shown = HeaderMap::new();
        Credential::of(&headers, Some("sid"))?.apply(&mut shown);
        Ok(shown)
    }

    #[test]
    fn basic_is_passed_on_without_anything_else() {
        // `ops:a:b`
        for field in ["Basic b3BzOmE6Yg==", "basic   b3BzOmE6Yg==  ", "BASIC b3BzOmE6Yg=="] {
            let shown = of(&[("authorization", field), ("cookie", "sid=1")]).expect(field);
            assert_eq!(shown.len(), 1);
            assert_eq!(shown[AUTHORIZATION], "Basic b3BzOmE6Yg==");
        }
    }

    #[test]
    fn only_the_session_cookie_is_passed_on() {
        let cases = [
            ("sid=1", "sid=1"),
            ("a=b; sid=x=y; c=d", "sid=x=y"),
            ("xsid=0;sid=\"q\";sid=2", "sid=\"q\""),
            ("sid=; sid=late", "sid=late"),
        ];
        for (sent, shown) in cases {
            let headers = of(&[("cookie", "other=1"), ("cookie", sent)]).expect(sent);
            assert_eq!(headers.len(), 1);
            assert_eq!(headers[COOKIE], shown, "{sent}");
        }
    }

    #[test]
    fn other_credentials_are_refused_with_the_reason() {
        let cases: [(&[(&str, &str)], &str); 12] = [
            (&[], "NoCredentials"),
            (&[("cookie", "SID=1; asid=2; sid=")], "NoCredentials"),
            (&[("authorization", "Bearer glsa_x")], "ServiceAccount"),
            (&[("authorization", "bearer glsa_x"), ("cookie", "sid=1")], "ServiceAccount"),
            // `api_key:x`
            (&[("authorization", "Basic YXBpX2tleTp4")], "ServiceAccount"),
            (&[("authorization", "Bearer")], "ServiceAccount"),
            (&[("authorization", "Basic ???")], "Malformed"),
            (&[("authorization", "Basic")], "Malformed"),
            // `ops`
            (&[("authorization", "Basic b3Bz")], "Malformed"),
            // not UTF-8
            (&[("authorization", "Basic /zr/")], "Malformed"),
            (&[("authorization", "Digest x"), ("cookie", "sid=1")], "Malformed"),
            (&[("authorization", "Basic YTpi"), ("authorization", "Basic YTpi")], "Malformed"),
        ];
        for (fields, reason) in cases {
            let denied = of(fields).expect_err(reason);
            assert_eq!(format!("{denied:?}"), reason, "{fields:?}");
        }
    }

    #[test]
    fn digests_depend_on_credential_kind_and_context() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"k");
        let basic = |user: &str, password: &str| {
            Credential(Kind::Basic { user: user.into(), password: password.into() })
        };
        let session = Credential(Kind::Session { cookie: HeaderValue::from_static("ab") });
        let digests = [
            basic("ab", "c").digest(&key, b""),
            basic("a", "bc").digest(&key, b""),
            basic("a", "bc").digest(&key, b"1"),
            session.digest(&key, b""),
        ];
        for (index, digest) in digests.iter().enumerate() {
            assert!(!digests[index + 1..].contains(digest));
        }
        assert_eq!(basic("a", "b").digest(&key, b"x"), basic("a", "b").digest(&key, b"x"));
    }

    #[test]
    fn debug_shows_the_kind_only() {
        let basic = Credential(Kind::Basic { user: "u".into(), password: "hunter2".into() });
        assert_eq!(format!("{basic:?}"), "Basic(...)");
    }
}
