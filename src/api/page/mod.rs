//! `/api/licensing/`: the license page, for a browser, with and without a script.
//!
//! ```text
//! store, renewal, rules ── facts.rs ── html.rs, timeline.rs ── page        words.rs has every sentence
//! form.rs ── the same functions as the API ── 303 to the page, or the page with the reason at the field
//! ```
//!
//! The page is rendered here, always whole, from memory. The script (`script.js`) sends the same forms, and puts the same
//! page in place; it renders nothing itself. `sign_in.rs` handles callers that are not signed in. `refusal.rs` is the page of a request
//! that a gate rule refuses.

mod assets;
mod facts;
mod form;
mod html;
mod refusal;
mod response;
mod rules;
mod sign;
mod sign_in;
mod timeline;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use tokio::time::timeout;

use super::context::{Api, ApiRequest};
use super::wire::{BodyError, RequestBody};
use super::{error, history, request, stats, token, validate};
use crate::auth::{Action as Permission, Dashboard, Denied, SignIn, SignedIn, StatisticsError};
use crate::license::{Rejection, Report};
use crate::problem::Problem;
use crate::store::Expected;
use facts::{Audited, Facts};
use form::{Action, Form, FormError, NoToken};
use html::{Fault, Field, Shown};
use response::{page, root, see};
use rules::Ruled;

pub use assets::Asset;
pub use refusal::refusal;

/// Lines of the audit log that are shown.
const AUDIT_LINES: usize = 20;

/// `GET /api/licensing/`: the page. `?done=CODE` shows a sentence about a success, `?seats=1` the number of users.
///
/// Needs `licensing:read`. 200; 303 to the sign-in of the dashboard; 401, 403, 429, 503 the caller.
pub(super) async fn get<D: Dashboard>(
    api: &Api,
    request: ApiRequest<'_, D>,
) -> Result<Response<Bytes>, Problem> {
    let signed_in = match api.checked(Permission::Read, request).await {
        Ok(signed_in) => signed_in,
        Err(denied) => return sign_in::refused(api, request.head, denied),
    };
    let query = request.head.uri.query().unwrap_or_default();
    let value = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
    };
    let done = value("done").and_then(|code| words::DONE.iter().find(|(own, _)| *own == code));
    let mut facts = gathered(api, &signed_in).await;
    if value("seats").is_some() {
        facts.seats = match stats::active_users(api, &signed_in.credential, request).await {
            // The grant was cached, and the session is not valid any more.
            Err(StatisticsError::Denied(denied @ Denied::Refused { .. })) => {
                return sign_in::refused(api, request.head, denied);
            }
            users => Some(users.map_err(|error| Problem::from(error).message().to_owned())),
        };
    }
    let shown = Shown { done: done.map(|(_, sentence)| *sentence), ..Shown::default() };
    let mut response = page(StatusCode::OK, html::page(&facts, &shown, &root(api)));
    sign_in::forget(request.head, &mut response);
    Ok(response)
}

/// `POST /api/licensing/`: an action of the page.
///
/// Body: urlencoded or multipart, at most 128 KiB. Needs the permission of the action. 303 to the page with `?done=CODE`; 200 a
/// checked token, or a renewal request; otherwise the page, with the status of the API and the reason.
pub(super) async fn post<D: Dashboard>(
    api: &Api,
    request: ApiRequest<'_, D>,
    body: impl RequestBody,
) -> Result<Response<Bytes>, Problem> {
    let head = request.head;
    let signed_in = match api.checked(Permission::Read, request).await {
        Ok(signed_in) => Some(signed_in),
        // The action may need another permission.
        Err(Denied::Forbidden { .. }) => None,
        Err(denied) => {
            // The text of a page of another origin is not shown.
            let is_own = api.auth.is_own_page(head);
            let form = if is_own { form::read(head, body).await.ok() } else { None };
            return sign_in::ended(api, head, denied, form);
        }
    };
    let form = match form::read(head, body).await {
        Ok(form) => form,
        Err(error) => {
            let problem = malformed(error);
            return Err(failed(api, head, signed_in.as_ref(), Form::default(), problem).await);
        }
    };
    match perform(api, request, &form).await {
        Ok(Done::Redirect(code)) => Ok(see(&format!("./?done={code}"))),
        Ok(Done::Download(response)) => Ok(response),
        Ok(Done::Checked(report)) => {
            let Some(signed_in) = signed_in else { return Ok(see("./")) };
            let shown = Shown { form, report: Some(*report), ..Shown::default() };
            let facts = gathered(api, &signed_in).await;
            Ok(page(StatusCode::OK, html::page(&facts, &shown, &root(api))))
        }
        Err(problem) => Err(failed(api, head, signed_in.as_ref(), form, problem).await),
    }
}

/// `GET /api/licensing/assets/NAME`: a file of the page. Needs no credentials. Always 200.
pub(super) fn asset(asset: Asset) -> Response<Bytes> {
    asset.response()
}

/// The result of an action that succeeded.
enum Done {
    /// Its code in [`words::DONE`].
    Redirect(&'static str),
    Download(Response<Bytes>),
    Checked(Box<Report>),
}

async fn perform<D: Dashboard>(
    api: &Api,
    request: ApiRequest<'_, D>,
    form: &Form,
) -> Result<Done, Problem> {
    let Some(action) = form.action else { return Err(unknown()) };
    let permission = match action {
        Action::Remove => Permission::Delete,
        Action::Check | Action::Install | Action::Renew | Action::RollBack | Action::Request => {
            Permission::Write
        }
    };
    let who = api.require_change(permission, request).await?;
    let expected = match &form.revision {
        Some(revision) => Expected::one_of([revision.clone()]),
        None => Expected::any(),
    };
    match action {
        Action::Check => {
            let token = form.offered().map_err(not_a_token)?;
            let report = validate::inspected(api, &token).await;
            Ok(Done::Checked(report.into()))
        }
        Action::Install => {
            let token = form.offered().map_err(not_a_token)?;
            token::install(api, &token, expected, who).await?;
            Ok(Done::Redirect("installed"))
        }
        Action::Renew => {
            api.renewal.renew(who, expected).await?;
            Ok(Done::Redirect("renewed"))
        }
        Action::RollBack => {
            history::restore(api, Some(&form.jti), expected, who).await?;
            Ok(Done::Redirect("restored"))
        }
        Action::Remove => {
            token::remove(api, Some(form.instance.trim()), expected, who).await?;
            Ok(Done::Redirect("removed"))
        }
        Action::Request => request::written(api).map(Done::Download),
    }
}

/// The page with the reason why an action failed, at its field, and with what was typed.
async fn failed(
    api: &Api,
    head: &Parts,
    signed_in: Option<&SignedIn>,
    form: Form,
    problem: Problem,
) -> Problem {
    if !sign_in::wants_page(head) {
        return problem;
    }
    let Some(signed_in) = signed_in else {
        let content = maud::html! { p { (words::sentence(problem.message())) } };
        let text = html::message(&root(api), words::FAILED, &content);
        return problem.shown_as(page(StatusCode::OK, text));
    };
    let is_changed = problem.code() == error::CHANGED;
    let field = match problem.code() {
        "licensing.body.too-large" => Field::Token,
        _ => Field::of(form.action),
    };
    let message = match problem.code() {
        "licensing.body.too-large" => words::TOO_LARGE.to_owned(),
        _ => problem.message().to_owned(),
    };
    let report = match (form.action, form.offered()) {
        (Some(Action::Install), Ok(token)) => Some(validate::inspected(api, &token).await),
        _ => None,
    };
    let changed = is_changed.then(|| form.revision.clone().unwrap_or_default());
    let fault = Some(Fault { field, message });
    let shown = Shown { done: None, form, fault, report, changed };
    let facts = gathered(api, signed_in).await;
    problem.shown_as(page(StatusCode::OK, html::page(&facts, &shown, &root(api))))
}

async fn gathered(api: &Api, signed_in: &SignedIn) -> Facts {
    let may_write = signed_in.may(Permission::Write);
    let audit = match may_write && api.housekeeping.answers() {
        true => {
            let lines = timeout(words::AUDIT_WAIT, api.housekeeping.last_lines(AUDIT_LINES)).await;
            let lines = lines.map_err(drop).and_then(|lines| lines.map_err(drop));
            Some(lines.map(|lines| lines.iter().filter_map(|line| Audited::parse(line)).collect()))
        }
        false => may_write.then_some(Err(())),
    };
    let (now, snapshot): (_, Arc<_>) = (api.clock.now(), api.reader.snapshot());
    let newest = api.housekeeping.newest_time();
    let in_force = snapshot.in_force(now);
    Facts {
        now,
        rules: Ruled::of(api.rules.current().as_ref(), &in_force, &snapshot, now),
        in_force,
        snapshot,
        renewal: api.renewal.progress(),
        store_up: api.housekeeping.is_up(),
        store_answers: api.housekeeping.answers(),
        newest_time: api.housekeeping.is_behind(now).then_some(newest),
        keys_from: api.keys_from.clone(),
        name: signed_in.name.clone(),
        may_write,
        may_remove: signed_in.may(Permission::Delete),
        audit,
        has_statistics: api.auth.sign_in_path(SignIn::Log).is_some(),
        seats: None,
    }
}

fn not_a_token(reason: NoToken) -> Problem {
    match reason.0 {
        words::NOTHING_GIVEN => {
            Problem::bad_request("licensing.token.missing", words::NOTHING_GIVEN)
        }
        sentence => {
            let rejection: Rejection = reason.rejection();
            Problem::bad_request(format!("licensing.token.{}", rejection.code()), sentence)
        }
    }
}

fn malformed(error: FormError) -> Problem {
    match error {
        FormError::Body(BodyError::ContentType) | FormError::Type => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "licensing.body.type",
            words::FORM_TYPE,
        ),
        FormError::Body(error) => error.into(),
        FormError::Malformed => Problem::bad_request("licensing.body.malformed", words::FORM_TYPE),
    }
}

fn unknown() -> Problem {
    Problem::bad_request("licensing.body.malformed", words::FORM_UNKNOWN)
}
