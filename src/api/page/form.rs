//! The forms of the page: reads a submitted form, and finds the token in what a person pasted or uploaded.
//!
//! A body is urlencoded or multipart, at most 128 KiB like every body of the API. Unknown fields are ignored.

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use multer::Multipart;
use serde_json::Value;

use super::super::wire::{self, BodyError, RequestBody};
use super::words;
use crate::license::Rejection;
use crate::text::trimmed;

/// What a form does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Shows what a token would change.
    Check,
    /// Installs a token.
    Install,
    /// Renews the license.
    Renew,
    /// Restores a former license.
    RollBack,
    /// Removes the stored license.
    Remove,
    /// Downloads a renewal request.
    Request,
}

impl Action {
    pub(super) const ALL: [Self; 6] =
        [Self::Check, Self::Install, Self::Renew, Self::RollBack, Self::Remove, Self::Request];

    /// The value of the field `action`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Install => "install",
            Self::Renew => "renew",
            Self::RollBack => "rollback",
            Self::Remove => "remove",
            Self::Request => "request",
        }
    }
}

/// A submitted form.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    /// `None`: missing or unknown.
    pub(super) action: Option<Action>,
    /// The revision that the page showed.
    pub(super) revision: Option<String>,
    /// The token as it was pasted.
    pub(super) token: String,
    /// The chosen file; empty: none.
    pub(super) file: Bytes,
    pub(super) jti: String,
    pub(super) instance: String,
}

/// Why a form cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormError {
    /// The body.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Neither urlencoded nor multipart.
    #[error("the form's Content-Type is neither urlencoded nor multipart")]
    Type,
    /// Multipart that cannot be parsed. The parser's message is not kept, because it may quote the body.
    #[error("the form is malformed")]
    Malformed,
}

impl Form {
    fn set(&mut self, name: &str, value: Bytes) {
        let text = || String::from_utf8_lossy(&value).into_owned();
        match name {
            "action" => {
                let text = text();
                self.action = Action::ALL.into_iter().find(|action| action.as_str() == text);
            }
            "revision" => self.revision = Some(text()),
            "token" => self.token = text(),
            "file" => self.file = value,
            "jti" => self.jti = text(),
            "instance" => self.instance = text(),
            _ => {}
        }
    }

    /// What was pasted or, if nothing was, the text of the file. A private key is never sent back.
    pub(super) fn typed(&self) -> String {
        let text = match trimmed(&self.token).is_empty() {
            true => String::from_utf8(self.file.to_vec()).unwrap_or_default(),
            false => self.token.clone(),
        };
        if other_kind(&text) == Some(NoToken(words::PRIVATE_KEY)) { String::new() } else { text }
    }

    /// The token in the pasted text or in the file.
    pub(super) fn offered(&self) -> Result<String, NoToken> {
        let is_pasted = !trimmed(&self.token).is_empty();
        match (is_pasted, self.file.is_empty()) {
            (false, true) => Err(NoToken(words::NOTHING_GIVEN)),
            (true, true) => token_in(&self.token),
            (true, false) => {
                let (pasted, chosen) = (token_in(&self.token)?, token_of_file(&self.file)?);
                if pasted == chosen { Ok(pasted) } else { Err(NoToken(words::BOTH_GIVEN)) }
            }
            (false, false) => token_of_file(&self.file),
        }
    }
}

/// Why there is no token in a text, as a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoToken(pub(super) &'static str);

impl NoToken {
    /// For the audit log and the API's `messageId`.
    pub(super) const fn rejection(self) -> Rejection {
        Rejection::Malformed { what: "there is no single token in it", remedy: self.0 }
    }
}

/// Reads a form.
pub(super) async fn read(head: &Parts, body: impl RequestBody) -> Result<Form, FormError> {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let boundary = match essence.as_str() {
        "application/x-www-form-urlencoded" => None,
        "multipart/form-data" => {
            Some(multer::parse_boundary(&kind).map_err(|_| FormError::Malformed)?)
        }
        _ => return Err(FormError::Type),
    };
    let body = wire::read(head, body).await?;
    let mut form = Form::default();
    let Some(boundary) = boundary else {
        for (name, value) in form_urlencoded::parse(&body) {
            form.set(&name, Bytes::from(value.into_owned()));
        }
        return Ok(form);
    };
    let whole = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut parts = Multipart::new(whole, boundary);
    while let Some(part) = parts.next_field().await.map_err(|_| FormError::Malformed)? {
        let name = part.name().unwrap_or_default().to_owned();
        let value = part.bytes().await.map_err(|_| FormError::Malformed)?;
        form.set(&name, value);
    }
    Ok(form)
}

/// The token in the content of a file.
fn token_of_file(content: &[u8]) -> Result<String, NoToken> {
    const PICTURES: [&[u8]; 5] = [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF"];
    match std::str::from_utf8(content) {
        Ok(text) if !text.contains('\0') => token_in(text),
        _ if PICTURES.iter().any(|start| content.starts_with(start)) => {
            Err(NoToken(words::PICTURE))
        }
        _ => Err(NoToken(words::NOT_TEXT)),
    }
}

/// The token in a text that a person copied: without line breaks, quotes, `Bearer`, or the JSON around it.
pub(super) fn token_in(text: &str) -> Result<String, NoToken> {
    let text = trimmed(text);
    if let Some(other) = other_kind(text) {
        return Err(other);
    }
    if text.starts_with('{') {
        let json: Value =
            serde_json::from_str(text).map_err(|_| NoToken(words::NO_TOKEN_IN_JSON))?;
        let token = json.get("token").and_then(Value::as_str);
        let token = token.ok_or(NoToken(words::NO_TOKEN_IN_JSON))?;
        return bare(token);
    }
    bare(text)
}

/// Keys, which vendors handle together with tokens: in PEM, or as a JWK or a set of them.
fn other_kind(text: &str) -> Option<NoToken> {
    let is_pem = text.contains("-----BEGIN ");
    let json = || serde_json::from_str::<Value>(trimmed(text)).ok();
    let is_jwk = || json().is_some_and(|json| json.get("keys").or(json.get("kty")).is_some());
    // `d` is a member of private keys only (RFC 7518 section 6).
    match (is_pem && text.contains("PRIVATE KEY-----"), is_pem) {
        (true, _) => Some(NoToken(words::PRIVATE_KEY)),
        (false, true) => Some(NoToken(words::PUBLIC_KEYS)),
        _ if !is_jwk() => None,
        _ if text.contains("\"d\"") => Some(NoToken(words::PRIVATE_KEY)),
        _ => Some(NoToken(words::PUBLIC_KEYS)),
    }
}

fn bare(text: &str) -> Result<String, NoToken> {
    const QUOTES: [char; 9] =
        ['"', '\'', '`', '\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', ','];
    let around = |text: &str| {
        let at_edge = |c: char| QUOTES.contains(&c) || c == '\u{feff}' || c.is_whitespace();
        text.trim_matches(at_edge).to_owned()
    };
    let mut text = around(text);
    for prefix in ["authorization:", "bearer"] {
        let begins = text.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix));
        let rest = text.get(prefix.len()..).unwrap_or_default();
        if begins && (prefix.ends_with(':') || rest.starts_with(char::is_whitespace)) {
            text = around(rest);
        }
    }
    if text.is_empty() {
        return Err(NoToken(words::NOTHING_GIVEN));
    }
    let joined: String = text.split_whitespace().collect();
    let is_whole = |piece: &&str| piece.matches('.').count() >= 2;
    let several = text.split_whitespace().filter(is_whole).count() > 1;
    // A token has two dots. Another text with more of them is not a token either, and fails the check of its form.
    let starts = joined.matches("eyJ").count();
    if several || (joined.matches('.').count() >= 4 && starts >= 2) {
        return Err(NoToken(words::TWO_TOKENS));
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::Full;

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.e30.AA";

    #[test]
    fn a_token_is_found_in_what_people_copy() {
        for text in [
            TOKEN.to_owned(),
            format!("  {TOKEN}\r\n"),
            format!("\u{feff}{TOKEN}"),
            format!("\"{TOKEN}\""),
            format!("\u{201c}{TOKEN}\u{201d},"),
            format!("Bearer {TOKEN}"),
            format!("Authorization: bearer \n{TOKEN}"),
            format!("{{\"token\": \"{TOKEN}\", \"x\": 1}}"),
            format!("{{\"token\": \"Bearer {TOKEN}\"}}"),
            "eyJhbGciOi\r\n  JFUzI1NiJ9.e3\n0.AA".to_owned(),
        ] {
            assert_eq!(token_in(&text).as_deref(), Ok(TOKEN), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_token_is_refused_with_the_reason() {
        for (text, why) in [
            (" \n".to_owned(), words::NOTHING_GIVEN),
            ("\"\"".to_owned(), words::NOTHING_GIVEN),
            (format!("{TOKEN}\n{TOKEN}"), words::TWO_TOKENS),
            (format!("{TOKEN}{TOKEN}"), words::TWO_TOKENS),
            ("{}".to_owned(), words::NO_TOKEN_IN_JSON),
            ("{\"token\": 1}".to_owned(), words::NO_TOKEN_IN_JSON),
            ("{".to_owned(), words::NO_TOKEN_IN_JSON),
            ("x\n-----BEGIN EC PRIVATE KEY-----\nA\n".to_owned(), words::PRIVATE_KEY),
            ("-----BEGIN CERTIFICATE-----\nA\n".to_owned(), words::PUBLIC_KEYS),
            ("{\"keys\":[{\"kty\":\"EC\"}]}".to_owned(), words::PUBLIC_KEYS),
            ("{\"kty\":\"EC\",\"d\":\"A\"}".to_owned(), words::PRIVATE_KEY),
        ] {
            assert_eq!(token_in(&text), Err(NoToken(why)), "{text}");
        }
        let secret = Form { token: "-----BEGIN PRIVATE KEY-----".into(), ..Form::default() };
        assert_eq!(
            (secret.typed(), secret.offered()),
            (String::new(), Err(NoToken(words::PRIVATE_KEY)))
        );
        assert_eq!(token_of_file(b"\x89PNG\r\n\x1a\n\0"), Err(NoToken(words::PICTURE)));
        assert_eq!(token_of_file(b"\xfe\0\0"), Err(NoToken(words::NOT_TEXT)));
        assert_eq!(token_of_file(TOKEN.as_bytes()).as_deref(), Ok(TOKEN));
    }

    fn form(kind: &str, body: &str) -> Result<Form, FormError> {
        let request = Request::post("/").header(CONTENT_TYPE, kind).body(()).expect("a request");
        let (head, ()) = request.into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(read(&head, Full::new(Bytes::from(body.to_owned()))))
    }

    #[test]
    fn both_encodings_are_read_and_others_are_not() {
        let by_url = form(
            "application/x-www-form-urlencoded",
            "action=install&token=a%2Eb+c&x=1&revision=9",
        );
        let by_url = by_url.expect("read");
        assert_eq!((by_url.action, &*by_url.token), (Some(Action::Install), "a.b c"));
        assert_eq!(by_url.revision.as_deref(), Some("9"));
        let parts = "--B\r\nContent-Disposition: form-data; name=\"action\"\r\n\r\ncheck\r\n\
                     --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jwt\"\r\n\r\na.b.c\r\n--B--\r\n";
        let by_parts = form("multipart/form-data; boundary=B", parts).expect("read");
        assert_eq!((by_parts.action, &*by_parts.file), (Some(Action::Check), &b"a.b.c"[..]));
        assert_eq!(by_parts.typed(), "a.b.c");
        for kind in ["application/json", "", "text/plain"] {
            assert!(matches!(form(kind, "action=check"), Err(FormError::Type)), "{kind}");
        }
        for (kind, body) in
            [("multipart/form-data", "x"), ("multipart/form-data; boundary=B", "--B\r\nx")]
        {
            assert!(matches!(form(kind, body), Err(FormError::Malformed)), "{kind}");
        }
        assert_eq!(
            form("application/x-www-form-urlencoded", "action=nothing").expect("read").action,
            None
        );
    }
}
