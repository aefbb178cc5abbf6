//! Why a command failed: a sentence that says what to do, and an exit code.
//!
//! The gate's message is shown as it came. [`ADVICE`] adds what to do at the command line.

use http::StatusCode;
use serde_json::Value;

use crate::license::printable;

/// Exit code: the gate or the user refused, or the command cannot be carried out as it was given.
pub(super) const REFUSED: u8 = 1;
/// Exit code: no gate could be reached, or it cannot serve anyone now.
pub(super) const UNREACHABLE: u8 = 2;
/// Exit code: the user may not do this.
pub(super) const NOT_ALLOWED: u8 = 3;

/// Longest message of a server that is shown, in characters.
const MAX_MESSAGE_CHARS: usize = 2000;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) text: String,
    /// The response of the gate, for `--json`.
    pub(super) json: Option<Reply>,
}

/// JSON of the gate, as it came.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) json: Value,
    /// What is wrong with the license in force, in a clause.
    pub(super) warning: Option<String>,
}

impl Reply {
    /// `None`: it is not JSON.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let json = serde_json::from_str(text).ok()?;
        Some(Self { json, text: text.trim().to_owned(), warning: None })
    }
}

impl Failure {
    pub(super) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), json: None }
    }

    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::new(REFUSED, text)
    }

    /// The failure for an error response of the licensing API. `None`: it is not one.
    pub(super) fn of(status: StatusCode, retry_after: Option<u64>, reply: Reply) -> Option<Self> {
        let json = &reply.json;
        let message = json["message"].as_str().map(sentence);
        if status == StatusCode::FORBIDDEN && json["accessErrorId"].is_string() {
            let text = format!(
                "{} Use the credentials of an administrator of the dashboard, or of a user with that permission.",
                message.unwrap_or_else(|| "This user lacks a permission.".to_owned())
            );
            return Some(Self { code: NOT_ALLOWED, text, json: Some(reply) });
        }
        let id = json["messageId"].as_str()?;
        let (code, advice) = advice(id, status);
        let mut text = message.unwrap_or_else(|| format!("The gate responds with {status}."));
        text.push(' ');
        text.push_str(advice);
        if let Some(seconds) = retry_after {
            text.push_str(&format!(" Wait {seconds} s first."));
        }
        let id = printable(&shortened(id));
        let trace = json["traceID"].as_str().map(|id| printable(&shortened(id)));
        match trace.filter(|trace| !trace.is_empty()) {
            Some(trace) => text.push_str(&format!(" ({id}, request {trace})")),
            None => text.push_str(&format!(" ({id})")),
        }
        Some(Self { code, text, json: Some(reply) })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// Text of a server as a sentence on one line.
fn sentence(message: &str) -> String {
    let message = printable(shortened(message).trim().trim_end_matches('.'));
    let mut characters = message.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).chain(['.']).collect()
}

/// Exit code and advice for a `messageId`.
fn advice(id: &str, status: StatusCode) -> (u8, &'static str) {
    let exact = ADVICE.iter().find(|(known, ..)| *known == id);
    let prefix = || AREAS.iter().find(|(area, ..)| id.starts_with(area));
    match exact.or_else(prefix) {
        Some((_, code, advice)) => (*code, advice),
        None if matches!(status.as_u16(), 401 | 403) => {
            (NOT_ALLOWED, "Check user name and password at the dashboard.")
        }
        None if status.is_server_error() => {
            (UNREACHABLE, "See the log of the gate, and try again later.")
        }
        None => (REFUSED, "Nothing was changed. See the log of the gate."),
    }
}

const SIGN_IN: &str = "Give the user name and password of a user of the dashboard: LICENSE_GATE_USER and LICENSE_GATE_PASSWORD, --netrc, or the prompt.";
const LOOK_FIRST: &str = "Run `license-gate license show` before you try again.";
const LATER: &str = "Try again later.";
const UNCHANGED: &str =
    "Nothing was changed. `license-gate license inspect FILE` shows every check.";
const AT_THE_GATE: &str = "The operator of the gate has to act: its log has the cause.";
const SAME_VERSION: &str =
    "If it repeats, compare `license-gate --version` with the version of the gate.";

type Advice = (&'static str, u8, &'static str);

/// What to do about each `messageId` of the API.
const ADVICE: &[Advice] = &[
    ("auth.unauthorized", NOT_ALLOWED, SIGN_IN),
    ("auth.malformed", NOT_ALLOWED, SIGN_IN),
    ("auth.service-account", NOT_ALLOWED, SIGN_IN),
    (
        "password-auth.failed",
        NOT_ALLOWED,
        "Check user name and password: repeated failures lock the user out.",
    ),
    ("session.token.rotate", NOT_ALLOWED, SIGN_IN),
    (
        "auth.origin-not-allowed",
        NOT_ALLOWED,
        "A proxy between this machine and the gate adds `Origin` or `Sec-Fetch-Site`: use the address of the gate itself.",
    ),
    ("auth.too-many-failures", NOT_ALLOWED, "Correct the password before you try again."),
    ("auth.busy", UNREACHABLE, LATER),
    (
        "auth.unavailable",
        UNREACHABLE,
        "The dashboard decides who may do this; the gate's metric license_gate_upstream_up shows whether the gate reaches it.",
    ),
    ("licensing.body.type", REFUSED, SAME_VERSION),
    (
        "licensing.body.too-large",
        REFUSED,
        "A license token has at most 64 KiB: check that the file contains only the token.",
    ),
    (
        "licensing.body.timeout",
        UNREACHABLE,
        "The network is slow or a proxy held the request back: try again.",
    ),
    ("licensing.body.incomplete", UNREACHABLE, "The connection was cut: try again."),
    ("licensing.body.malformed", REFUSED, SAME_VERSION),
    (
        "licensing.history.jti-missing",
        REFUSED,
        "Give the token id: `license-gate license rollback JTI`.",
    ),
    ("licensing.history.not-found", REFUSED, "`license-gate license history` lists the token ids."),
    ("licensing.instance.missing", REFUSED, "Give the root URL of the instance with --instance."),
    (
        "licensing.instance.mismatch",
        REFUSED,
        "Check --url first: this may be another gate than you meant. Otherwise give the root URL of this instance with --instance.",
    ),
    ("licensing.method.not-allowed", REFUSED, SAME_VERSION),
    (
        "licensing.path.misspelled",
        REFUSED,
        "Correct the path of --url: it is the base path of the dashboard, exactly as in `server.root_url`.",
    ),
    (
        "licensing.renewal.off",
        REFUSED,
        "`license-gate license install FILE` installs a token by hand.",
    ),
    ("licensing.renewal.busy", REFUSED, LOOK_FIRST),
    ("licensing.renewal.superseded", REFUSED, LOOK_FIRST),
    (
        "licensing.renewal.unreachable",
        REFUSED,
        "`license-gate license request` renews without a connection between gate and issuer.",
    ),
    (
        "licensing.renewal.refused",
        REFUSED,
        "Ask the issuer why, or for a token to install by hand.",
    ),
    (
        "licensing.renewal.bad-answer",
        REFUSED,
        "Check `renewal.url` of the gate, and ask the issuer.",
    ),
    ("licensing.renewal.timeout", REFUSED, LATER),
    ("licensing.renewal.rejected", REFUSED, "Ask the issuer for a token that this gate accepts."),
    (
        "licensing.renewal.other-license",
        REFUSED,
        "To change to that license, install its token by hand: `license-gate license install FILE`.",
    ),
    ("licensing.renewal.older", REFUSED, "Nothing was changed. Ask the issuer for a newer token."),
    ("licensing.stats.forbidden", NOT_ALLOWED, SIGN_IN),
    ("licensing.stats.local", REFUSED, "The dashboard itself has the numbers."),
    ("licensing.stats.unavailable", UNREACHABLE, LATER),
    ("licensing.store.failed", REFUSED, AT_THE_GATE),
    ("licensing.store.conflict", REFUSED, LOOK_FIRST),
    ("licensing.store.unavailable", UNREACHABLE, LOOK_FIRST),
    ("licensing.token.missing", REFUSED, SAME_VERSION),
    ("licensing.token.not-found", REFUSED, "`license-gate license install FILE` installs one."),
    ("licensing.unexpected", REFUSED, LOOK_FIRST),
    ("licensing.writes.too-many", REFUSED, "`limits.writes_per_minute` of the gate is the limit."),
    ("licensing.changed", REFUSED, LOOK_FIRST),
    (
        "licensing.required",
        NOT_ALLOWED,
        "A gate rule refused the request, which is not one of the licensing API: check the base path of --url.",
    ),
    ("path.malformed", REFUSED, "Correct the path of --url."),
    ("gate.full", UNREACHABLE, LATER),
    ("gate.stopping", UNREACHABLE, LATER),
    ("request.plain-http", UNREACHABLE, "Write --url with https://."),
    (
        "request.head-timeout",
        UNREACHABLE,
        "The network is slow or a proxy held the request back: try again.",
    ),
    (
        "request.body-timeout",
        UNREACHABLE,
        "The network is slow or a proxy held the request back: try again.",
    ),
    ("redirect.loop", UNREACHABLE, AT_THE_GATE),
];

/// The same for all ids that begin with a text.
const AREAS: &[Advice] = &[
    ("licensing.token.", REFUSED, UNCHANGED),
    ("licensing.", REFUSED, "Nothing was changed. See the log of the gate."),
    (
        "upstream.",
        UNREACHABLE,
        "This gate forwarded the request to the dashboard instead of answering it: check the base path of --url.",
    ),
    (
        "request.",
        UNREACHABLE,
        "A proxy between this machine and the gate changed the request: use the address of the gate itself.",
    ),
    ("acme.", UNREACHABLE, "Check --url: it leads to an address of `server.redirect`."),
    ("auth.", NOT_ALLOWED, SIGN_IN),
    (
        "password-auth.",
        NOT_ALLOWED,
        "Check user name and password: repeated failures lock the user out.",
    ),
];
