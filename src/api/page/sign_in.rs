//! Callers that are not signed in, or may not see the license.
//!
//! A navigation without a session is redirected to the sign-in of the dashboard, or to the path that rotates its session. A
//! cookie of ten seconds records that: if the browser comes back without a session, a page is shown instead of a second
//! redirect. With Basic, and with `mode = "local"`, the browser is asked for name and password instead.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE, SET_COOKIE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use maud::html;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::context::Api;
use super::super::error;
use super::form::Form;
use super::response::{base, page, root, see};
use super::{html as markup, words};
use crate::auth::{Denied, SignIn};
use crate::problem::Problem;

/// Records the redirects of the last ten seconds.
const GUARD: &str = "license_gate_sign_in";
const GUARD_SECS: u32 = 10;

/// Whether the sender shows pages.
pub(super) fn wants_page(head: &Parts) -> bool {
    let accepts = head.headers.get_all(ACCEPT).iter();
    accepts
        .into_iter()
        .any(|it| it.as_bytes().windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html")))
}

/// Whether the browser navigates: a script that follows a redirect would show another page in this one.
fn is_navigation(head: &Parts) -> bool {
    match head.headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => wants_page(head),
    }
}

/// The response to a `GET` whose sender may not see the page.
pub(super) fn refused(api: &Api, head: &Parts, denied: Denied) -> Result<Response<Bytes>, Problem> {
    if let (true, Some(to)) = (is_navigation(head), path(api, head, &denied)) {
        if let Some(seen) = seen(head, to.kind) {
            return Ok(redirect(api, &to, &seen));
        }
        let problem = Problem::from(denied).without(&WWW_AUTHENTICATE);
        let content = html! {
            p { (words::SIGN_IN_LOOP) }
            p { a class="button" href=(to.target) { (words::SIGN_IN) } }
        };
        let text = markup::message(&root(api), words::SIGN_IN, &content);
        return Err(problem.shown_as(page(StatusCode::OK, text)));
    }
    Err(explained(api, head, denied))
}

/// The response to a `POST` whose sender is not signed in, with what was typed.
pub(super) fn ended(
    api: &Api,
    head: &Parts,
    denied: Denied,
    form: Option<Form>,
) -> Result<Response<Bytes>, Problem> {
    let (true, true, Some(form)) = (wants_page(head), is_unknown(&denied), form) else {
        return Err(explained(api, head, denied));
    };
    let to = path(api, head, &denied);
    let rotate = to.as_ref().is_some_and(|to| to.kind == SignIn::Rotate);
    let target = to.as_ref().map(|to| &*to.target);
    let text = markup::session_ended(&form, &root(api), target, rotate);
    let mut problem = Problem::from(denied);
    if target.is_some() {
        problem = problem.without(&WWW_AUTHENTICATE);
    }
    Err(problem.shown_as(page(StatusCode::OK, text)))
}

/// Removes the record of redirects, once the sender is signed in.
pub(super) fn forget(head: &Parts, response: &mut Response<Bytes>) {
    if cookie(head).is_some() {
        set_cookie(response, &format!("{GUARD}=; Max-Age=0; HttpOnly; SameSite=Lax"));
    }
}

/// The denial, as a page for browsers.
fn explained(api: &Api, head: &Parts, denied: Denied) -> Problem {
    if !wants_page(head) {
        return denied.into();
    }
    let root = root(api);
    let (title, content, rotate) = match &denied {
        Denied::Forbidden { action, name } => {
            (words::FORBIDDEN, words::forbidden(name, action.permission()), false)
        }
        Denied::Unavailable(error) if error.is_response() => {
            let content = html! { p { (words::sentence(&error::unchecked(error))) } };
            (words::UNCHECKED, content, false)
        }
        Denied::Unavailable(_) => {
            let content = html! {
                p { (words::DOWN_WHY) }
                p { (words::DOWN_TODO) " " code { (words::DOWN_COMMAND) } }
            };
            (words::DOWN, content, false)
        }
        Denied::Refused { code, .. } if code == SignIn::ROTATE_CODE => {
            (words::SIGN_IN, html! { p { (words::SIGN_IN_WHY) } }, true)
        }
        denied if is_unknown(denied) => {
            let content = match path(api, head, denied) {
                Some(to) => html! {
                    p { (words::SIGN_IN_WHY) }
                    p { a class="button" href=(to.target) { (words::SIGN_IN) } }
                },
                None => {
                    html! { p { (words::sentence(&denied.to_string())) } p { (words::SIGN_IN_BASIC) } }
                }
            };
            (words::SIGN_IN, content, false)
        }
        _ => {
            let problem = Problem::from(denied.clone());
            (words::FAILED, html! { p { (words::sentence(problem.message())) } }, false)
        }
    };
    let content = html! { div data-rotate[rotate] { (content) } };
    let text = markup::message(&root, title, &content);
    let signs_in_elsewhere = path(api, head, &denied).is_some();
    let problem = Problem::from(denied);
    // A prompt of the browser would hide the page, and would not help.
    let problem = if signs_in_elsewhere { problem.without(&WWW_AUTHENTICATE) } else { problem };
    problem.shown_as(page(StatusCode::OK, text))
}

/// Whether it is not known who the sender is, although that could be found out.
const fn is_unknown(denied: &Denied) -> bool {
    matches!(
        denied,
        Denied::NoCredentials | Denied::Malformed | Denied::ServiceAccount | Denied::Refused { .. }
    )
}

/// Where a browser signs in.
struct To {
    kind: SignIn,
    /// With the way back.
    target: String,
}

/// The sign-in of the dashboard. `None`: the browser sends Basic, or must.
fn path(api: &Api, head: &Parts, denied: &Denied) -> Option<To> {
    let is_session = !head.headers.contains_key(AUTHORIZATION);
    let kind = match denied {
        Denied::NoCredentials if is_session => SignIn::Log,
        Denied::Refused { code, .. } if is_session && code == SignIn::ROTATE_CODE => SignIn::Rotate,
        Denied::Refused { .. } if is_session => SignIn::Log,
        _ => return None,
    };
    let path = api.auth.sign_in_path(kind)?;
    let separator = if path.contains('?') { '&' } else { '?' };
    let target = format!("{}{path}{separator}redirectTo={}", base(api), way_back(api));
    Some(To { kind, target })
}

/// The path of the page, percent-encoded.
fn way_back(api: &Api) -> String {
    let path = format!("{}/api/licensing/", base(api));
    utf8_percent_encode(&path, NON_ALPHANUMERIC).to_string()
}

fn redirect(api: &Api, to: &To, seen: &str) -> Response<Bytes> {
    let mut response = see(&to.target);
    let base = base(api);
    let of_dashboard = if base.is_empty() { "/" } else { &base };
    let is_secure = api.reader.current().policy().root_url.scheme() == "https";
    let secure = if is_secure { "; Secure" } else { "" };
    set_cookie(
        &mut response,
        &format!(
            "{GUARD}={seen}; Path={base}/api/licensing/; Max-Age={GUARD_SECS}; HttpOnly; SameSite=Lax{secure}"
        ),
    );
    // Older versions of the dashboard read the way back from this cookie.
    let back = way_back(api);
    set_cookie(
        &mut response,
        &format!(
            "redirect_to={back}; Path={of_dashboard}; Max-Age=600; HttpOnly; SameSite=Lax{secure}"
        ),
    );
    response
}

fn set_cookie(response: &mut Response<Bytes>, cookie: &str) {
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// The record with `kind` added. `None`: it has it already, or is not one of ours.
fn seen(head: &Parts, kind: SignIn) -> Option<String> {
    let before = cookie(head).unwrap_or_default();
    let letter = kind.letter();
    (before.len() < 2 && !before.contains(letter)).then(|| format!("{before}{letter}"))
}

fn cookie(head: &Parts) -> Option<&str> {
    let lines = head.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(GUARD)?.strip_prefix('='))
}
