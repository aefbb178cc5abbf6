//! A renewal request as a file: what an instance without a way to its issuer hands over, and what the issuer makes of it.
//!
//! One JSON object. The license token in it, signed by the issuer, is what proves the request: the members beside it are
//! for people, and must say what the token says. It is a credential, as the license is.

use anyhow::{Context, anyhow, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::clock::UnixTime;
use crate::license::{Claims, Excerpt, Keys, License, Members, RootUrl, Token, verify};

const TYP: &str = "license-gate-renewal-request";
const VERSION: u64 = 1;

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

/// The request of `instance` to renew `license`, as text.
pub(super) fn written(
    license: &License,
    instance: &RootUrl,
    now: UnixTime,
) -> anyhow::Result<String> {
    let Claims { lid, jti, included_users: seats, .. } = license.claims();
    let shape = Shape {
        typ: TYP,
        version: VERSION,
        created: now.to_string(),
        instance: instance.to_string(),
        lid,
        jti: jti.as_deref(),
        seats: *seats,
        token: license.token().as_str(),
    };
    Ok(serde_json::to_string_pretty(&shape)? + "\n")
}

/// The license that a request read from `json` asks to renew, of an issuer that trusts `keys`.
pub(super) fn read(json: &[u8], keys: &Keys) -> anyhow::Result<License> {
    let request = members(json)?;
    let token = Token::parse(request.string("token")?).context("its `token` cannot be read")?;
    let license = verify(&token, keys).context(
        "its token is not of this issuer: sign with the key that issued it, or name that key with --issuer-keys",
    )?;
    agree(&request, license.claims())?;
    let instance = RootUrl::parse(request.string("instance")?)
        .context("its `instance` is not a root URL: have the request written anew")?;
    ensure!(
        instance.matches(&license.claims().sub),
        "its token is for {}, which does not cover the instance {instance}: issue a license with --sub instead",
        Excerpt::of(&license.claims().sub),
    );
    Ok(license)
}

/// The members of a request of this version.
fn members(json: &[u8]) -> anyhow::Result<Request> {
    let members = Members::of_document(json)
        .ok_or_else(|| anyhow!("it is not a JSON object: give what `license request` wrote"))?;
    if let Some(name) = &members.duplicate {
        bail!("it has {} twice: give what `license request` wrote", Excerpt::of(name));
    }
    let request = Request(members);
    let typ = request.string("typ")?;
    ensure!(
        typ == TYP,
        "its `typ` is {}, not \"{TYP}\": give what `license request` wrote",
        Excerpt::of(typ)
    );
    let version = request.member("version")?;
    ensure!(
        version.as_u64() == Some(VERSION),
        "its `version` is {}, {VERSION} is read here: use the license-gate of the version that wrote it",
        Excerpt::of(&version.to_string())
    );
    Ok(request)
}

/// Holds what a request says beside its token against what the token says.
fn agree(request: &Request, claims: &Claims) -> anyhow::Result<()> {
    let stated = [
        ("lid", Value::from(claims.lid.as_str())),
        ("jti", Value::from(claims.jti.as_deref())),
        ("seats", Value::from(claims.included_users)),
    ];
    request.string("created")?;
    for (name, expected) in stated {
        let said = request.member(name)?;
        ensure!(
            *said == expected,
            "its `{name}` is {}, its token says {}: have the request written anew",
            Excerpt::of(&said.to_string()).bare(),
            Excerpt::of(&expected.to_string()).bare(),
        );
    }
    Ok(())
}

struct Request(Members);

impl Request {
    fn member(&self, name: &str) -> anyhow::Result<&Value> {
        let member = self.0.map.get(name);
        member.with_context(|| format!("it has no `{name}`: give what `license request` wrote"))
    }

    fn string(&self, name: &str) -> anyhow::Result<&str> {
        let text = self.member(name)?.as_str();
        text.with_context(|| {
            format!("its `{name}` is not a string: give what `license request` wrote")
        })
    }
}
