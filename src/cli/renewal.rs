//! The file of a renewal request, as `license issue --request` reads it. `license/renewal_request.rs` has its shape.

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Map, Value};

use crate::clock::UnixTime;
use crate::license::{
    Claims, Excerpt, Keys, License, Members, REQUEST_TYP, REQUEST_VERSION, RootUrl, Token, verify,
};

/// Products in a summary; the others are counted.
const MOST_PRODUCTS: usize = 20;

/// Formats a claim for a summary; `None` if the claim is absent.
type Show = fn(Option<&Value>) -> String;

/// A verified request.
#[derive(Debug)]
pub(super) struct Request {
    /// The license to renew.
    pub(super) license: License,
    /// Root URL of the instance that requests it.
    pub(super) instance: RootUrl,
}

/// Reads and verifies a request. The license in it must be signed with one of the issuer's `keys`.
pub(super) fn read(json: &[u8], keys: &Keys) -> anyhow::Result<Request> {
    let request = members(json)?;
    let token = Token::parse(request.string("token")?).context("its `token` cannot be read")?;
    let license = verify(&token, keys).context(
        "its token is not signed by this issuer: sign with the key that signed it, or give that key with --issuer-keys",
    )?;
    agree(&request, license.claims())?;
    let instance = RootUrl::parse(request.string("instance")?).context(
        "its `instance` is not a root URL: use an unmodified file from `license request`",
    )?;
    ensure!(
        instance.matches(&license.claims().sub),
        "its token is for {}, which does not cover the instance {instance}: issue a license with --sub instead",
        Excerpt::of(&license.claims().sub),
    );
    Ok(Request { license, instance })
}

/// The `claims` to be signed, one per line, for the signer. For a request, a claim that differs from the former token is
/// shown as `former -> new`.
pub(super) fn summary(request: Option<&Request>, claims: &Map<String, Value>) -> String {
    let former = request.map(|request| request.license.signed_claims());
    let former = former.as_ref().unwrap_or(claims);
    let token_id = stated(former, "jti").map_or_else(|| "without id".to_owned(), shown);
    let rows: [(&str, &str, Show); 8] = [
        ("licensee", "company", |it| it.map_or_else(|| "not named".to_owned(), shown)),
        ("license id", "lid", |it| it.map(shown).unwrap_or_default()),
        ("licensed for", "sub", |it| it.map(shown).unwrap_or_default()),
        ("products", "prod", products),
        ("seats", "included_users", seats),
        ("license ends", "lexp", ends),
        ("trial ends", "trial_exp", ends),
        ("token ends", "exp", ends),
    ];
    let mut text = match request {
        Some(request) => {
            let instance = request.instance.to_string();
            format!("about to renew, requested by {}:\n", Excerpt::of(&instance).bare())
        }
        None => "about to sign:\n".to_owned(),
    };
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<13} {value}\n"));
    for (name, claim, show) in rows {
        let (old, new) = (stated(former, claim), stated(claims, claim));
        if claim == "trial_exp" && old.or(new).is_none() {
            continue;
        }
        match (show(old), show(new)) {
            (old, new) if old == new => line(name, &new),
            (old, new) => line(name, &format!("{old} -> {new}")),
        }
    }
    if request.is_some() {
        line("former token", &token_id);
    }
    text
}

/// A claim that is present. A null claim is absent.
fn stated<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}

/// A whole number, also if it is written as a float.
fn whole(value: &Value) -> Option<i64> {
    const LAST_EXACT: f64 = 9_007_199_254_740_992.0;
    let exact = |it: f64| (it.fract() == 0.0 && it.abs() <= LAST_EXACT).then_some(it as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(exact))
}

/// The text of a claim, shortened, with control characters escaped.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Excerpt::of(&text).bare().to_string()
}

fn products(value: Option<&Value>) -> String {
    let Some(value) = value else { return "none named".to_owned() };
    let Some(names) = value.as_array() else { return shown(value) };
    let mut list = names.iter().take(MOST_PRODUCTS).map(shown).collect::<Vec<_>>().join(", ");
    if let more @ 1.. = names.len().saturating_sub(MOST_PRODUCTS) {
        list.push_str(&format!(" and {more} more"));
    }
    if list.is_empty() { "none named".to_owned() } else { list }
}

fn seats(value: Option<&Value>) -> String {
    match value.map(|it| (it, whole(it))) {
        None | Some((_, Some(..=0))) => "unlimited".to_owned(),
        Some((_, Some(seats))) => seats.to_string(),
        Some((value, None)) => shown(value),
    }
}

fn ends(value: Option<&Value>) -> String {
    match value.map(|it| (it, whole(it).and_then(|seconds| u64::try_from(seconds).ok()))) {
        None | Some((_, Some(0))) => "never".to_owned(),
        Some((_, Some(seconds))) => UnixTime::from_secs(seconds).to_string(),
        Some((value, None)) => shown(value),
    }
}

/// The members of a request file with the version that this program reads.
fn members(json: &[u8]) -> anyhow::Result<Document> {
    let members = Members::of_document(json)
        .ok_or_else(|| anyhow!("it is not a JSON object: give a file from `license request`"))?;
    if let Some(name) = &members.duplicate {
        bail!("it has {} twice: give a file from `license request`", Excerpt::of(name));
    }
    let request = Document(members);
    let typ = request.string("typ")?;
    ensure!(
        typ == REQUEST_TYP,
        "its `typ` is {}, not \"{REQUEST_TYP}\": give a file from `license request`",
        Excerpt::of(typ)
    );
    let version = request.member("version")?;
    ensure!(
        version.as_u64() == Some(REQUEST_VERSION),
        "its `version` is {}, but this license-gate reads version {REQUEST_VERSION}: use the license-gate that wrote the file",
        Excerpt::of(&version.to_string())
    );
    Ok(request)
}

/// Checks that the members for people agree with the claims of the token.
fn agree(request: &Document, claims: &Claims) -> anyhow::Result<()> {
    let stated = [
        ("lid", Value::from(claims.lid.as_str())),
        ("jti", Value::from(claims.jti.as_deref())),
        ("seats", Value::from(claims.included_users)),
    ];
    request.string("created")?;
    for (name, expected) in stated {
        let value = request.member(name)?;
        ensure!(
            *value == expected,
            "its `{name}` is {}, but its token has {}: use an unmodified file from `license request`",
            Excerpt::of(&value.to_string()).bare(),
            Excerpt::of(&expected.to_string()).bare(),
        );
    }
    Ok(())
}

struct Document(Members);

impl Document {
    fn member(&self, name: &str) -> anyhow::Result<&Value> {
        let member = self.0.map.get(name);
        member.with_context(|| format!("it has no `{name}`: give a file from `license request`"))
    }

    fn string(&self, name: &str) -> anyhow::Result<&str> {
        let text = self.member(name)?.as_str();
        text.with_context(|| {
            format!("its `{name}` is not a string: give a file from `license request`")
        })
    }
}
