//! The claims of a license.
//!
//! Input: the content of a verified token. Output: typed claims; an absent claim is `None`, times are [`UnixTime`], `lid` is
//! always text. Unknown claims are ignored, a claim that is `null` counts as absent, and a known claim of another type is an
//! error that names it. Claims are not checked here: see [`super::standing`] for dates, issuer and subject, and
//! [`super::plausible`] for implausible times.

use std::time::Duration;

use serde_json::{Map, Value};

use super::excerpt::Excerpt;
use super::members::Members;
use super::rejection::Rejection;
use crate::clock::UnixTime;

/// Largest time. Above 2^53, JSON parsers that use `f64` disagree.
const LAST_COMMON: u64 = 1 << 53;

const DAY_SECS: u64 = 24 * 60 * 60;

/// The claims of a license token. Only [`super::verify`] makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(non_snake_case, reason = "`anonymousRatio` is the claim's name")]
pub struct Claims {
    /// Token id.
    pub jti: Option<String>,
    /// Issuer.
    pub iss: Option<String>,
    /// Root URL of the instance; `*` stands for one host label or one path segment. Required.
    pub sub: String,
    /// When the token was issued.
    pub iat: Option<UnixTime>,
    /// When the token expires, exclusive. Required.
    pub exp: UnixTime,
    /// When the license starts. `None` and 0: always.
    pub nbf: Option<UnixTime>,
    /// When the license expires, exclusive. `None` and 0: never.
    pub lexp: Option<UnixTime>,
    /// License id; a number is converted to decimal digits. Required, not empty.
    pub lid: String,
    /// What is counted, for example `users`.
    pub limit_by: Option<String>,
    /// How many are included; 0 or less: unlimited.
    pub included_users: Option<i64>,
    /// Days before `lexp` at which to warn; see [`Claims::license_warn_days`].
    pub lic_exp_warn_days: Option<i64>,
    /// Days before `exp` at which to warn; see [`Claims::token_warned_from`].
    pub tok_exp_warn_days: Option<i64>,
    /// Days between renewals; see [`Claims::renew_every_days`].
    pub update_days: Option<i64>,
    /// Products.
    pub prod: Option<Vec<String>>,
    /// Licensee.
    pub company: Option<String>,
    /// The licensee's account.
    pub account: Option<String>,
    /// The licensee's short name in links.
    pub slug: Option<String>,
    /// Whether use is billed.
    pub usage_billing: Option<bool>,
    /// Concurrent sessions per user.
    pub max_concurrent_user_sessions: Option<i64>,
    /// Link to details.
    pub details_url: Option<String>,
    /// Whether this is a trial.
    pub trial: Option<bool>,
    /// When the trial expires, exclusive; ignored unless `trial`. `None` and 0: never.
    pub trial_exp: Option<UnixTime>,
    /// Anonymous devices per user.
    pub anonymousRatio: Option<i64>,
}

impl Claims {
    /// The names of all claims, in the order of this type.
    pub const NAMES: [&str; 23] = [
        "jti",
        "iss",
        "sub",
        "iat",
        "exp",
        "nbf",
        "lexp",
        "lid",
        "limit_by",
        "included_users",
        "lic_exp_warn_days",
        "tok_exp_warn_days",
        "update_days",
        "prod",
        "company",
        "account",
        "slug",
        "usage_billing",
        "max_concurrent_user_sessions",
        "details_url",
        "trial",
        "trial_exp",
        "anonymousRatio",
    ];

    /// Parses the content of a token with a verified signature.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Rejection> {
        let members = Members::parse(json).ok_or(Rejection::ClaimsMalformed)?;
        match members.duplicate {
            Some(claim) => Err(Rejection::ClaimDuplicated { claim: Excerpt::of(&claim) }),
            None => Self::read(&Content(&members.map)),
        }
    }

    fn read(content: &Content<'_>) -> Result<Self, Rejection> {
        Ok(Self {
            jti: content.string("jti")?,
            iss: content.string("iss")?,
            sub: required("sub", content.string("sub")?)?,
            iat: content.time("iat")?,
            exp: required("exp", content.time("exp")?)?,
            nbf: content.time("nbf")?,
            lexp: content.time("lexp")?,
            lid: required("lid", content.license_id("lid")?)?,
            limit_by: content.string("limit_by")?,
            included_users: content.int("included_users")?,
            lic_exp_warn_days: content.int("lic_exp_warn_days")?,
            tok_exp_warn_days: content.int("tok_exp_warn_days")?,
            update_days: content.int("update_days")?,
            prod: content.strings("prod")?,
            company: content.string("company")?,
            account: content.string("account")?,
            slug: content.string("slug")?,
            usage_billing: content.flag("usage_billing")?,
            max_concurrent_user_sessions: content.int("max_concurrent_user_sessions")?,
            details_url: content.string("details_url")?,
            trial: content.flag("trial")?,
            trial_exp: content.time("trial_exp")?,
            anonymousRatio: content.int("anonymousRatio")?,
        })
    }

    /// Days before `lexp` at which to warn. Default 30.
    pub fn license_warn_days(&self) -> i64 {
        self.lic_exp_warn_days.unwrap_or(30)
    }

    /// When to warn of the token's expiry, and to renew at the latest: `tok_exp_warn_days` before `exp`; without that claim
    /// three days before, or half of a shorter lifetime.
    pub fn token_warned_from(&self) -> UnixTime {
        let seconds = |days: i64| u64::try_from(days).unwrap_or(0).saturating_mul(DAY_SECS);
        let before = self.tok_exp_warn_days.map_or_else(
            || {
                let issued = self.iat.unwrap_or_default().as_secs();
                seconds(3).min(self.exp.as_secs().saturating_sub(issued) / 2)
            },
            seconds,
        );
        self.exp.saturating_sub(Duration::from_secs(before))
    }

    /// Days from `iat` to the next renewal, at least 1. Default 1.
    pub fn renew_every_days(&self) -> i64 {
        self.update_days.unwrap_or(1).max(1)
    }

    /// When the license starts, if that is stated.
    pub fn starts_at(&self) -> Option<UnixTime> {
        stated(self.nbf)
    }

    /// When the license expires, if ever.
    pub fn license_ends_at(&self) -> Option<UnixTime> {
        stated(self.lexp)
    }

    /// When the trial expires, if this is a trial and it ever does.
    pub fn trial_ends_at(&self) -> Option<UnixTime> {
        stated(self.trial_exp).filter(|_| self.trial == Some(true))
    }

    /// The earliest expiry of license, trial and token, without leeway.
    pub fn first_end(&self) -> UnixTime {
        [self.license_ends_at(), self.trial_ends_at()]
            .into_iter()
            .flatten()
            .fold(self.exp, Ord::min)
    }

    /// Whether `product` is among `prod`.
    pub fn includes(&self, product: &str) -> bool {
        self.prod.iter().flatten().any(|included| included == product)
    }

    /// Name and JSON value of each claim that the token states, in the order of this type.
    pub fn stated(&self) -> Vec<(&'static str, Value)> {
        let text = |claim: &Option<String>| claim.clone().map(Value::from);
        let time = |claim: Option<UnixTime>| claim.map(|moment| Value::from(moment.as_secs()));
        let int = |claim: Option<i64>| claim.map(Value::from);
        let flag = |claim: Option<bool>| claim.map(Value::from);
        let all = [
            ("jti", text(&self.jti)),
            ("iss", text(&self.iss)),
            ("sub", Some(self.sub.as_str().into())),
            ("iat", time(self.iat)),
            ("exp", time(Some(self.exp))),
            ("nbf", time(self.nbf)),
            ("lexp", time(self.lexp)),
            ("lid", Some(self.lid.as_str().into())),
            ("limit_by", text(&self.limit_by)),
            ("included_users", int(self.included_users)),
            ("lic_exp_warn_days", int(self.lic_exp_warn_days)),
            ("tok_exp_warn_days", int(self.tok_exp_warn_days)),
            ("update_days", int(self.update_days)),
            ("prod", self.prod.clone().map(Value::from)),
            ("company", text(&self.company)),
            ("account", text(&self.account)),
            ("slug", text(&self.slug)),
            ("usage_billing", flag(self.usage_billing)),
            ("max_concurrent_user_sessions", int(self.max_concurrent_user_sessions)),
            ("details_url", text(&self.details_url)),
            ("trial", flag(self.trial)),
            ("trial_exp", time(self.trial_exp)),
            ("anonymousRatio", int(self.anonymousRatio)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A time other than 0, with which issuers write "none".
fn stated(moment: Option<UnixTime>) -> Option<UnixTime> {
    moment.filter(|moment| moment.as_secs() > 0)
}

pub(super) fn required<T>(claim: &'static str, value: Option<T>) -> Result<T, Rejection> {
    value.ok_or(Rejection::ClaimMissing { claim })
}

/// Reads members of the content by type.
pub(super) struct Content<'a>(pub(super) &'a Map<String, Value>);

impl Content<'_> {
    fn string(&self, claim: &'static str) -> Result<Option<String>, Rejection> {
        self.typed(claim, "a string", |value| value.as_str().map(str::to_owned))
    }

    fn int(&self, claim: &'static str) -> Result<Option<i64>, Rejection> {
        self.typed(claim, "a whole number", Value::as_i64)
    }

    fn flag(&self, claim: &'static str) -> Result<Option<bool>, Rejection> {
        self.typed(claim, "true or false", Value::as_bool)
    }

    pub(super) fn time(&self, claim: &'static str) -> Result<Option<UnixTime>, Rejection> {
        self.typed(claim, "a whole number of seconds from 0 to 2^53", |value| {
            common(value).map(UnixTime::from_secs)
        })
    }

    pub(super) fn count(&self, claim: &'static str) -> Result<Option<u64>, Rejection> {
        self.typed(claim, "a whole number from 0 to 2^53", common)
    }

    pub(super) fn strings(&self, claim: &'static str) -> Result<Option<Vec<String>>, Rejection> {
        self.typed(claim, "a list of strings", |value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    fn license_id(&self, claim: &'static str) -> Result<Option<String>, Rejection> {
        self.typed(claim, "a whole number or a string that is not empty", license_id)
    }

    pub(super) fn license_ids(
        &self,
        claim: &'static str,
    ) -> Result<Option<Vec<String>>, Rejection> {
        self.typed(claim, "a list of whole numbers and strings that are not empty", |value| {
            value.as_array()?.iter().map(license_id).collect()
        })
    }

    fn typed<T>(
        &self,
        claim: &'static str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Rejection> {
        // Go, for example, encodes an empty list as null.
        let Some(value) = self.0.get(claim).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or(Rejection::ClaimInvalid { claim, expected })
    }
}

/// A whole number from 0 to 2^53.
fn common(value: &Value) -> Option<u64> {
    value.as_u64().filter(|number| *number <= LAST_COMMON)
}

/// A license id, kept as text.
fn license_id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<Claims, Rejection> {
        Claims::parse(format!(r#"{{"sub":"http://a/","exp":9,{rest}}}"#).as_bytes())
    }

    #[test]
    fn a_license_id_is_text_or_a_number() {
        let lid = |json: &str| parse(&format!(r#""lid":{json}"#)).map(|claims| claims.lid).ok();
        assert_eq!(lid(r#""L-1""#).as_deref(), Some("L-1"));
        assert_eq!(lid("4711").as_deref(), Some("4711"));
        assert_eq!(lid("-3").as_deref(), Some("-3"));
        assert_eq!(lid("18446744073709551615").as_deref(), Some("18446744073709551615"));
        assert_eq!(lid("1e3").as_deref(), Some("1000"));
        assert_eq!(lid("4711.0").as_deref(), Some("4711"));
        for refused in [r#""""#, "1.5", "1e-3", "18446744073709551616", "true", "null", "[1]", "{}"]
        {
            assert_eq!(lid(refused), None, "{refused}");
        }
    }

    #[test]
    fn times_are_whole_seconds_up_to_2_to_the_53rd() {
        let iat = |json: &str| parse(&format!(r#""lid":1,"iat":{json}"#)).map(|claims| claims.iat);
        for seconds in [0, 1, 1 << 53] {
            assert_eq!(iat(&seconds.to_string()), Ok(Some(UnixTime::from_secs(seconds))));
        }
        for (written, seconds) in
            [("1.0", 1), ("1e9", 1_000_000_000), ("1.796014403E9", 1_796_014_403)]
        {
            assert_eq!(iat(written), Ok(Some(UnixTime::from_secs(seconds))));
        }
        assert_eq!(iat("null"), Ok(None));
        for refused in
            ["-1", "-1.0", "9007199254740993", "9007199254740993.0", "1.5", "\"1\"", "true"]
        {
            let claim = match iat(refused) {
                Err(Rejection::ClaimInvalid { claim, .. }) => claim,
                other => panic!("{refused}: {other:?}"),
            };
            assert_eq!(claim, "iat");
        }
    }

    #[test]
    fn absent_and_zero_times_are_none() {
        let claims =
            parse(r#""lid":1,"lexp":0,"nbf":0,"trial":true,"trial_exp":0"#).expect("claims");
        assert_eq!(
            (claims.starts_at(), claims.license_ends_at(), claims.trial_ends_at()),
            (None, None, None)
        );
        assert_eq!(claims.first_end(), UnixTime::from_secs(9));
        assert_eq!((claims.license_warn_days(), claims.renew_every_days()), (30, 1));
    }

    #[test]
    fn the_first_end_is_the_earliest_stated_one() {
        let first = |rest: &str| {
            parse(&format!(r#""lid":1,{rest}"#)).map(|claims| claims.first_end().as_secs())
        };
        assert_eq!(first(r#""lexp":5,"trial_exp":3"#), Ok(5));
        assert_eq!(first(r#""lexp":5,"trial":true,"trial_exp":3"#), Ok(3));
        assert_eq!(first(r#""lexp":50,"update_days":-4"#), Ok(9));
    }

    #[test]
    fn a_claim_that_is_null_is_absent() {
        let nulls: Vec<String> = Claims::NAMES
            .into_iter()
            .filter(|name| !["sub", "exp", "lid"].contains(name))
            .map(|name| format!(r#""{name}":null"#))
            .collect();
        assert_eq!(parse(&format!(r#""lid":1,{}"#, nulls.join(","))), parse(r#""lid":1"#));
        for claim in ["sub", "exp", "lid"] {
            let json = ["sub", "exp", "lid"].map(|name| {
                let value = if name == claim { "null" } else { "1" };
                format!(r#""{name}":{value}"#)
            });
            let refused = Claims::parse(
                format!("{{{}}}", json.join(",")).replace(r#""sub":1"#, r#""sub":"a""#).as_bytes(),
            );
            assert_eq!(refused, Err(Rejection::ClaimMissing { claim }));
        }
    }

    #[test]
    fn every_integer_claim_accepts_any_notation() {
        for name in [
            "included_users",
            "lic_exp_warn_days",
            "tok_exp_warn_days",
            "update_days",
            "anonymousRatio",
            "max_concurrent_user_sessions",
        ] {
            let written = |number: &str| parse(&format!(r#""lid":1,"{name}":{number}"#));
            assert_eq!(written("25.0"), written("25"), "{name}");
            assert_eq!(written("2.5E1"), written("25"), "{name}");
            assert!(written("2.5").is_err() && written("1e300").is_err(), "{name}");
        }
    }

    #[test]
    fn stated_claims_read_back_the_same() {
        let claims = parse(
            r#""lid":"7","jti":"j","iss":"i","iat":1,"nbf":2,"lexp":3,"limit_by":"users","included_users":-1,
               "lic_exp_warn_days":1,"tok_exp_warn_days":2,"update_days":3,"prod":["a"],"company":"c","account":"d",
               "slug":"e","usage_billing":false,"max_concurrent_user_sessions":4,"details_url":"f","trial":true,
               "trial_exp":5,"anonymousRatio":6,"unknown":{"x":[null]}"#,
        )
        .expect("claims");
        let stated: Map<String, Value> =
            claims.stated().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(stated.len(), 23);
        assert!(Claims::NAMES.iter().all(|name| stated.contains_key(*name)));
        assert_eq!(Claims::read(&Content(&stated)), Ok(claims));
    }
}
