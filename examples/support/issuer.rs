//! A reference issuer: the server of a vendor that renews licenses.
//!
//! `POST /renew`: the gate sends its token as `Authorization: Bearer`, and `{"instance","lid","jti"}`. If this issuer signed
//! the token for that instance and license, the response is `{"token"}`, the same license with new dates. A real vendor
//! also checks its own data: whether the customer still pays, how many seats were bought, which licenses are revoked.
//! `GET /jwks.json` and `GET /revocations` serve the trusted keys and the revocation list, each with an `ETag`, so that a
//! gate that already has the content gets 304.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use license_gate::clock::{Clock, UnixTime};
use license_gate::license::{Claims, KeyPair, Keys, License, MintError, RootUrl, Token, verify};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::http_support::{self as web, Body};

/// Lifetime of a token. The end of the license does not change.
const TOKEN_LIFE: Duration = Duration::from_secs(14 * 86_400);

/// The vendor's key pair. Only tokens signed with it are renewed.
pub(crate) struct Issuer {
    pair: KeyPair,
    keys: Keys,
    clock: Clock,
    revocations: Option<PathBuf>,
}

/// Why a token is not renewed.
struct Refusal(StatusCode, &'static str);

/// The request of a gate to renew its license.
#[derive(serde::Deserialize)]
struct Question {
    instance: String,
    lid: String,
    jti: String,
}

impl Issuer {
    /// Signs with `pair`.
    pub(crate) fn new(pair: KeyPair) -> Self {
        let keys = pair.trusted();
        Self { pair, keys, clock: Clock::system(), revocations: None }
    }

    /// Publishes the revocation list in this file, as signed by `license-gate license revoke`. Read for each request.
    pub(crate) fn revoking(self, list: PathBuf) -> Self {
        Self { revocations: Some(list), ..self }
    }

    /// Signs `claims` with new dates and a new token id.
    pub(crate) fn issue(&self, mut claims: Map<String, Value>) -> Result<Token, MintError> {
        let now = self.clock.now();
        claims.insert("jti".into(), fresh_id()?.into());
        claims.insert("iat".into(), now.as_secs().into());
        claims.insert("exp".into(), now.saturating_add(TOKEN_LIFE).as_secs().into());
        self.pair.sign(&claims)
    }

    fn renew(&self, headers: &HeaderMap, question: &[u8]) -> Result<Token, Refusal> {
        let license = self.bearer(headers)?;
        let question: Question = serde_json::from_slice(question)
            .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "instance, lid and jti are required"))?;
        judge(license.claims(), &question, self.clock.now())?;
        let stated = license.claims().stated().into_iter();
        let claims = stated.map(|(name, value)| (name.to_owned(), value)).collect();
        self.issue(claims).map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "cannot sign"))
    }

    /// The license in the caller's token, verified with our keys. The token may have expired.
    fn bearer(&self, headers: &HeaderMap) -> Result<License, Refusal> {
        let line = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = line
            .and_then(|line| line.strip_prefix("Bearer "))
            .and_then(|text| Token::parse(text).ok());
        token
            .and_then(|token| verify(&token, &self.keys).ok())
            .ok_or(Refusal(StatusCode::UNAUTHORIZED, "this is no token of ours"))
    }
}

/// Checks that the request is for the license in the token.
fn judge(claims: &Claims, question: &Question, now: UnixTime) -> Result<(), Refusal> {
    let same =
        claims.lid == question.lid && claims.jti.as_deref().unwrap_or_default() == question.jti;
    let instance = RootUrl::parse(&question.instance);
    if !same || !instance.is_ok_and(|instance| instance.matches(&claims.sub)) {
        return Err(Refusal(StatusCode::FORBIDDEN, "the token is for another license or instance"));
    }
    if claims.license_ends_at().is_some_and(|end| end <= now) {
        return Err(Refusal(StatusCode::FORBIDDEN, "the license has ended"));
    }
    Ok(())
}

/// Serves `issuer` until dropped, inside [`web::block_on`].
pub(crate) async fn serve(listener: TcpListener, issuer: Issuer) {
    let issuer = Rc::new(issuer);
    web::serve(listener, move |request| {
        let issuer = Rc::clone(&issuer);
        async move { respond(&issuer, request).await }
    })
    .await;
}

async fn respond(issuer: &Issuer, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let allowed = match head.uri.path() {
        "/renew" => "POST",
        "/jwks.json" | "/revocations" => "GET, HEAD",
        _ => {
            return refusal(StatusCode::NOT_FOUND, "POST /renew, GET /jwks.json, GET /revocations");
        }
    };
    if !allowed.split(", ").any(|method| head.method.as_str() == method) {
        let mut refusal = refusal(StatusCode::METHOD_NOT_ALLOWED, allowed);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return refusal;
    }
    match head.uri.path() {
        "/jwks.json" => {
            let jwks = issuer.pair.jwks().to_string();
            published(&head.headers, "application/jwk-set+json", jwks.into())
        }
        "/revocations" => match issuer.revocations.as_ref().map(std::fs::read) {
            Some(Ok(list)) => published(&head.headers, "application/revocations+jwt", list.into()),
            Some(Err(_)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the list cannot be read"),
            None => refusal(StatusCode::NOT_FOUND, "there is no revocation list"),
        },
        _ => renew(issuer, &head.headers, body).await,
    }
}

async fn renew(issuer: &Issuer, headers: &HeaderMap, body: Incoming) -> Response<Body> {
    let question = web::read(body, 4096).await.unwrap_or_default();
    match issuer.renew(headers, &question) {
        Ok(token) => web::json(StatusCode::OK, &json!({"token": token.as_str()})),
        Err(Refusal(status, message)) => refusal(status, message),
    }
}

/// `content`, or 304 if the client has it already (RFC 9110 section 13.1.2).
fn published(asked: &HeaderMap, content_type: &'static str, content: Bytes) -> Response<Body> {
    let tag = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &content));
    let tag = format!("\"{tag}\"");
    let known = asked.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    let mut answer = match known.split(',').any(|known| known.trim() == tag) {
        true => web::answer(StatusCode::NOT_MODIFIED, content_type, Bytes::new()),
        false => web::answer(StatusCode::OK, content_type, content),
    };
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    answer.headers_mut().extend(HeaderValue::from_str(&tag).map(|tag| (ETAG, tag)));
    answer
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    web::json(status, &json!({"message": message}))
}

fn fresh_id() -> Result<String, MintError> {
    let mut id = [0; 16];
    rand::fill(&mut id)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(id))
}
