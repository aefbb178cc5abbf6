//! A reference issuer: what a vendor runs so that gates renew their licenses.
//!
//! One endpoint, `POST /renew`: the gate sends the token it has as `Authorization: Bearer` and
//! `{"instance","lid","jti"}`; a token of ours, for that instance and license, is answered with `{"token"}`, the same
//! license with new dates. A vendor adds what only a vendor knows: whether the customer still pays, how many seats were
//! bought since, which licenses are withdrawn.

use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{ALLOW, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use license_gate::clock::{Clock, UnixTime};
use license_gate::license::{Claims, KeyPair, Keys, License, MintError, RootUrl, Token, verify};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::http_support::{self as web, Body};

/// How long a token lasts; the license itself lasts as long as it says.
const TOKEN_LIFE: Duration = Duration::from_secs(14 * 86_400);

/// A vendor's key pair, and the keys it accepts tokens of: its own.
pub(crate) struct Issuer {
    pair: KeyPair,
    keys: Keys,
    clock: Clock,
}

/// Why a token is not renewed.
struct Refusal(StatusCode, &'static str);

/// What the gate says about the license it wants renewed.
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
        Self { pair, keys, clock: Clock::system() }
    }

    /// Signs `claims` with the dates and the id of a fresh token.
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
            .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "instance, lid and jti are needed"))?;
        judge(license.claims(), &question, self.clock.now())?;
        let stated = license.claims().stated().into_iter();
        let claims = stated.map(|(name, value)| (name.to_owned(), value)).collect();
        self.issue(claims).map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "cannot sign"))
    }

    /// The license a caller proves to have: one of ours, even if its token has expired meanwhile.
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

/// Holds the question against the license that asks it.
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
    if head.uri.path() != "/renew" {
        return web::json(
            StatusCode::NOT_FOUND,
            &json!({"message": "POST /renew is all there is"}),
        );
    }
    if head.method != Method::POST {
        let mut refusal = web::json(StatusCode::METHOD_NOT_ALLOWED, &json!({"message": "POST"}));
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return refusal;
    }
    let question = web::read(body, 4096).await.unwrap_or_default();
    match issuer.renew(&head.headers, &question) {
        Ok(token) => web::json(StatusCode::OK, &json!({"token": token.as_str()})),
        Err(Refusal(status, message)) => web::json(status, &json!({"message": message})),
    }
}

fn fresh_id() -> Result<String, MintError> {
    let mut id = [0; 16];
    rand::fill(&mut id)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(id))
}
