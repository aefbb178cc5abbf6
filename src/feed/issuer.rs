//! Client of the issuer's renewal endpoint.
//!
//! `POST renewal.url` with `Authorization: Bearer TOKEN` and `{"instance","lid","jti"}`; the response is `{"token":"…"}`.
//! The result is a [`Token`] that has not been verified, and the response's `Date`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::license::{License, Rejection, RootUrl, Token};
use crate::outgoing::{self, Answer, Call, Cause, Client, Endpoint, SetupError};
use crate::text::trimmed_bytes;

/// Largest response body. A token has at most 64 KiB; escapes make its JSON longer.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// Settings of renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The issuer's renewal endpoint, `http://` or `https://`. Default `None`: renewal is off, and no call is made.
    pub url: Option<http::Uri>,
}

/// Why there is no renewed token. Neither the token that was sent nor the text of the response is shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The call failed, or the issuer refused it.
    #[error(transparent)]
    Call(#[from] outgoing::Error),
    /// The body is not `{"token":"…"}`.
    #[error("the issuer's answer is not {{\"token\":\"…\"}}: see its line {line}, column {column}")]
    NotJson {
        /// From 1. The parser's message is not kept, because it quotes the body.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The token is malformed.
    #[error("the token in the issuer's answer is malformed")]
    Token(#[source] Rejection),
}

impl Error {
    /// The reason in the audit log; stable.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Call(error) => match &error.cause {
                Cause::Timeout(_) => "issuer-timeout",
                _ if error.by_proxy => "issuer-unreachable",
                Cause::Connect(_) | Cause::Tls(_) | Cause::Request(_) => "issuer-unreachable",
                Cause::Refused { .. } => "issuer-refused",
                Cause::Http(_) | Cause::TooLarge(_) => "issuer-bad-answer",
            },
            Self::NotJson { .. } | Self::Token(_) => "issuer-bad-answer",
        }
    }

    /// `Retry-After` of the issuer.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(error) => error.retry_after(),
            Self::NotJson { .. } | Self::Token(_) => None,
        }
    }
}

/// The result of a renewal call.
#[derive(Debug)]
pub struct Reply {
    /// The token, or the error.
    pub token: Result<Token, Error>,
    /// `Date` of the response, also of a refusal.
    pub date: Option<UnixTime>,
}

/// The issuer's renewal endpoint.
#[derive(Debug)]
pub struct Issuer(Endpoint);

#[derive(Serialize)]
struct RenewalRequest<'a> {
    instance: &'a str,
    lid: &'a str,
    jti: &'a str,
}

#[derive(Deserialize)]
struct RenewalResponse {
    token: String,
}

impl Issuer {
    /// The endpoint in `config`, called through `client`; `None` if `renewal.url` is not set.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(config: &Config, client: &Client) -> Result<Option<Self>, SetupError> {
        let Some(url) = &config.url else { return Ok(None) };
        client.endpoint("renewal.url", "the issuer", url).map(|endpoint| Some(Self(endpoint)))
    }

    /// Whether the issuer is authenticated by TLS, so that its refusals can be trusted too.
    pub const fn is_secured(&self) -> bool {
        self.0.is_secured()
    }

    /// Deadline of a call.
    pub const fn timeout(&self) -> Duration {
        self.0.timeout()
    }

    /// Requests a token that replaces that of `license`, for the instance at `root_url`.
    pub async fn request_token(&self, license: &License, root_url: &RootUrl) -> Reply {
        match self.call(license, root_url).await {
            Ok(answer) => Reply { date: answer.date(), token: self.token(&answer) },
            Err(error) => Reply { date: None, token: Err(error) },
        }
    }

    async fn call(&self, license: &License, root_url: &RootUrl) -> Result<Answer, Error> {
        let bearer = format!("Bearer {}", license.token().as_str());
        let bearer = HeaderValue::try_from(bearer).map_err(http::Error::from);
        let mut bearer = bearer.map_err(|error| self.0.failed(error.into()))?;
        bearer.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        let call = Call::post(body(license, root_url)?, MAX_ANSWER_BYTES)
            .field(AUTHORIZATION, bearer)
            .field(CONTENT_TYPE, json.clone())
            .field(ACCEPT, json);
        Ok(self.0.call(call).await?)
    }

    fn token(&self, answer: &Answer) -> Result<Token, Error> {
        if answer.status != StatusCode::OK {
            return Err(self.0.refused(answer).into());
        }
        let RenewalResponse { token } =
            serde_json::from_slice(trimmed_bytes(&answer.body)).map_err(not_json)?;
        Token::parse(&token).map_err(Error::Token)
    }
}

fn body(license: &License, root_url: &RootUrl) -> Result<Bytes, Error> {
    let claims = license.claims();
    let jti = claims.jti.as_deref().unwrap_or_default();
    let request = RenewalRequest { instance: &root_url.to_string(), lid: &claims.lid, jti };
    serde_json::to_vec(&request).map(Bytes::from).map_err(not_json)
}

fn not_json(error: serde_json::Error) -> Error {
    Error::NotJson { line: error.line(), column: error.column() }
}
