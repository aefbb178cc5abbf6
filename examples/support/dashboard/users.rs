//! The users: three, with public passwords. Sessions are in memory. Refusals have the format of the dashboard.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::http_support::{self as web, Body};

/// A user of the demo dashboard.
pub(crate) struct User {
    /// User id, from 1.
    id: u32,
    /// Sign-in name.
    pub(crate) login: &'static str,
    /// Not a secret.
    pub(crate) password: &'static str,
    /// Role, as shown on the page.
    pub(crate) role: &'static str,
}

/// All users: the administrator may do everything, the editor may read the license, the viewer may not.
pub(crate) static DEMO_USERS: [User; 3] = [
    User { id: 1, login: "admin", password: "admin", role: "Server administrator" },
    User { id: 2, login: "editor", password: "editor", role: "Editor" },
    User { id: 3, login: "viewer", password: "viewer", role: "Viewer" },
];

impl User {
    pub(super) fn is_admin(&self) -> bool {
        self.id == 1
    }

    /// `GET /api/user`.
    pub(super) fn identity(&self) -> Value {
        json!({
            "id": self.id, "login": self.login, "email": format!("{}@example.com", self.login), "name": self.role,
            "orgId": 1, "isGrafanaAdmin": self.is_admin(), "isDisabled": false, "isExternal": false
        })
    }

    /// `GET /api/access-control/user/permissions`: action to scopes, `[""]` where an action has none.
    pub(super) fn permissions(&self) -> Value {
        match self.login {
            "editor" => json!({"dashboards:read": ["dashboards:*"], "licensing:read": [""]}),
            _ => json!({"dashboards:read": ["dashboards:*"]}),
        }
    }
}

/// Why a caller is refused.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// No credentials, or an ended session.
    Unauthorized,
    /// The session must be rotated.
    Rotate,
    /// Wrong credentials.
    WrongPassword,
}

impl Refusal {
    pub(super) fn into_response(self) -> Response<Body> {
        let (message, id) = match self {
            Self::Unauthorized => ("Unauthorized", "auth.unauthorized"),
            Self::Rotate => ("Unauthorized", "session.token.rotate"),
            Self::WrongPassword => ("Invalid username or password", "password-auth.failed"),
        };
        let body = json!({"extra": null, "message": message, "messageId": id, "statusCode": 401, "traceID": ""});
        web::json(StatusCode::UNAUTHORIZED, &body)
    }
}

/// 403 in the format of the dashboard.
pub(super) fn access_denied(permission: &str) -> Response<Body> {
    let message = format!(
        "You'll need additional permissions to perform this action. Permissions needed: {permission}"
    );
    let body =
        json!({"accessErrorId": "ACE0000000403", "message": message, "title": "Access denied"});
    web::json(StatusCode::FORBIDDEN, &body)
}

/// The signed-in users, by session id. In memory only. A session must be rotated from time to time, as in Grafana.
pub(super) struct Sessions {
    open: RefCell<HashMap<String, Session>>,
    /// After this time, a session is refused until it is rotated.
    rotate_after: Duration,
}

#[derive(Clone, Copy)]
struct Session {
    user: &'static User,
    since: Instant,
}

impl Sessions {
    pub(super) fn new(rotate_after: Duration) -> Self {
        Self { open: RefCell::default(), rotate_after }
    }

    /// The caller by Basic credentials, else by session.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<&'static User, Refusal> {
        if let Some(credentials) = headers.get(AUTHORIZATION) {
            return basic(credentials);
        }
        let session = session_of(headers).ok_or(Refusal::Unauthorized)?;
        let session = self.open.borrow().get(session).copied().ok_or(Refusal::Unauthorized)?;
        match session.since.elapsed() > self.rotate_after {
            true => Err(Refusal::Rotate),
            false => Ok(session.user),
        }
    }

    /// Replaces the caller's session by a fresh one. Returns the cookie to set.
    pub(super) fn rotate(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let former = self.open.borrow_mut().remove(session_of(headers)?)?;
        self.begin(former.user)
    }

    fn begin(&self, user: &'static User) -> Option<HeaderValue> {
        let mut id = [0; 16];
        rand::fill(&mut id).ok()?;
        let id = BASE64_URL_SAFE_NO_PAD.encode(id);
        let cookie = format!("grafana_session={id}; Path=/; HttpOnly; SameSite=Lax");
        self.open.borrow_mut().insert(id, Session { user, since: Instant::now() });
        cookie.parse().ok()
    }

    /// Opens a session for the `user` and `password` of a form. Returns the cookie to set.
    pub(super) fn sign_in(&self, form: &[u8]) -> Option<HeaderValue> {
        let form = std::str::from_utf8(form).ok()?;
        let user = known(&field(form, "user")?, &field(form, "password")?)?;
        self.begin(user)
    }

    /// Ends the caller's session, if there is one.
    pub(super) fn sign_out(&self, headers: &HeaderMap) {
        if let Some(session) = session_of(headers) {
            self.open.borrow_mut().remove(session);
        }
    }
}

/// The session id in a request.
pub(super) fn session_of(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("grafana_session="))
}

fn basic(credentials: &HeaderValue) -> Result<&'static User, Refusal> {
    let (scheme, encoded) = credentials
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(Refusal::Unauthorized)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Refusal::Unauthorized);
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).map_err(|_| Refusal::Unauthorized)?;
    let pair = std::str::from_utf8(&decoded).ok().and_then(|text| text.split_once(':'));
    pair.and_then(|(login, password)| known(login, password)).ok_or(Refusal::WrongPassword)
}

fn known(login: &str, password: &str) -> Option<&'static User> {
    DEMO_USERS.iter().find(|user| user.login == login && user.password == password)
}

/// A value of an `application/x-www-form-urlencoded` body.
pub(super) fn field(form: &str, name: &str) -> Option<String> {
    let (_, value) =
        form.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    decoded(value)
}

/// `+` is a space, `%41` an `A`; `None` for a bad escape or what is not UTF-8.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = value.bytes();
    let mut text = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(text).ok()
}
