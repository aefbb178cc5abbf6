//! The issuer's renewal endpoint.
//!
//! `POST renewal.url` with `Authorization: Bearer TOKEN` and `{"instance","lid","jti"}`; the answer is `{"token":"…"}`.
//! What comes back is a [`Token`], unproven, with the date the issuer answered at.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::license::{License, Rejection, RootUrl, Token};
use crate::outgoing::{self, Answer, Call, Cause, Client, Endpoint, SetupError};
use crate::text::trimmed_bytes;

/// A token is at most 64 KiB; its JSON may be a little more.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// Where a license is renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The issuer's renewal endpoint, `http://` or `https://`; `None`, the default: renewal is off and no call is ever made.
    pub url: Option<http::Uri>,
}

/// Why the issuer gave no token. Neither the token sent nor the answer's text appears.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or a refusal.
    #[error(transparent)]
    Call(#[from] outgoing::Error),
    /// A body that is not `{"token":"…"}`.
    #[error("the issuer's answer is not {{\"token\":\"…\"}}: look at line {line}, column {column}")]
    NotJson {
        /// From 1. The parser's own words are not kept: they quote what they read.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A token of no known form.
    #[error("the issuer's answer holds no token")]
    Token(#[source] Rejection),
}

impl Error {
    /// A stable name of the reason.
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

    /// How long the issuer wants to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(error) => error.retry_after(),
            Self::NotJson { .. } | Self::Token(_) => None,
        }
    }
}

/// What became of a question.
#[derive(Debug)]
pub struct Reply {
    /// The token, or why there is none.
    pub token: Result<Token, Error>,
    /// The issuer's own date, of refusals too.
    pub date: Option<UnixTime>,
}

/// The issuer's endpoint, ready to be asked.
#[derive(Debug)]
pub struct Issuer(Endpoint);

#[derive(Serialize)]
struct Question<'a> {
    instance: &'a str,
    lid: &'a str,
    jti: &'a str,
}

#[derive(Deserialize)]
struct Granted {
    token: String,
}

impl Issuer {
    /// The issuer of `config`, reached by `client`; `None` when `renewal.url` is not set.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(config: &Config, client: &Client) -> Result<Option<Self>, SetupError> {
        let Some(url) = &config.url else { return Ok(None) };
        client.endpoint("renewal.url", "the issuer", url).map(|endpoint| Some(Self(endpoint)))
    }

    /// Whether it is certainly the issuer who answers, be it that it refuses.
    pub const fn is_secured(&self) -> bool {
        self.0.is_secured()
    }

    /// The longest it is waited for.
    pub const fn timeout(&self) -> Duration {
        self.0.timeout()
    }

    /// Asks for a token in place of that of `license`, for the instance at `root_url`.
    pub async fn ask(&self, license: &License, root_url: &RootUrl) -> Reply {
        match self.answer(license, root_url).await {
            Ok(answer) => Reply { date: answer.date(), token: self.token(&answer) },
            Err(error) => Reply { date: None, token: Err(error) },
        }
    }

    async fn answer(&self, license: &License, root_url: &RootUrl) -> Result<Answer, Error> {
        let bearer = format!("Bearer {}", license.token().as_str());
        let bearer = HeaderValue::try_from(bearer).map_err(http::Error::from);
        let mut bearer = bearer.map_err(|error| self.0.failed(error.into()))?;
        bearer.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        let call = Call::post(question(license, root_url)?, MAX_ANSWER_BYTES)
            .field(AUTHORIZATION, bearer)
            .field(CONTENT_TYPE, json.clone())
            .field(ACCEPT, json);
        Ok(self.0.call(call).await?)
    }

    fn token(&self, answer: &Answer) -> Result<Token, Error> {
        if answer.status != StatusCode::OK {
            return Err(self.0.refused(answer).into());
        }
        let Granted { token } =
            serde_json::from_slice(trimmed_bytes(&answer.body)).map_err(not_json)?;
        Token::parse(&token).map_err(Error::Token)
    }
}

fn question(license: &License, root_url: &RootUrl) -> Result<Bytes, Error> {
    let claims = license.claims();
    let jti = claims.jti.as_deref().unwrap_or_default();
    let question = Question { instance: &root_url.to_string(), lid: &claims.lid, jti };
    serde_json::to_vec(&question).map(Bytes::from).map_err(not_json)
}

fn not_json(error: serde_json::Error) -> Error {
    Error::NotJson { line: error.line(), column: error.column() }
}
