//! A small dashboard with the user API of a metrics dashboard, for trying the gate and for its tests.
//!
//! It has three users, who sign in with Basic or a login page (session cookie `grafana_session`); one chart fed by a
//! WebSocket and one by server-sent events; an upload that is streamed and hashed; and a table of the received header
//! fields, which shows what the gate forwards. Like a real dashboard, it refuses a request with a cookie from another
//! origin, so that a proxy that changes `Host` fails at once.

mod live;
mod pages;
mod upload;
pub(crate) mod users;

use std::rc::Rc;
use std::time::Duration;

use http::header::{ALLOW, HOST, LOCATION, ORIGIN, SET_COOKIE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http_support::{self as web, Body};
use users::{Sessions, User};

/// How often a session is rotated: as in Grafana.
const ROTATE_AFTER: Duration = Duration::from_secs(10 * 60);

/// Serves the dashboard until dropped, inside [`web::block_on`].
pub(crate) async fn serve(listener: TcpListener) {
    serve_rotating(listener, ROTATE_AFTER).await;
}

/// The same with sessions that must be rotated after this time.
pub(crate) async fn serve_rotating(listener: TcpListener, rotate_after: Duration) {
    let sessions = Rc::new(Sessions::new(rotate_after));
    web::serve(listener, move |request| {
        let sessions = Rc::clone(&sessions);
        async move { respond(&sessions, request).await }
    })
    .await;
}

async fn respond(sessions: &Sessions, request: Request<Incoming>) -> Response<Body> {
    if is_foreign(&request) {
        return web::answer(StatusCode::FORBIDDEN, "text/plain", "origin not allowed");
    }
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/login") => pages::login(StatusCode::OK, ""),
        (&Method::POST, "/login") => sign_in(sessions, request).await,
        (&Method::GET, "/api/health") => web::json(StatusCode::OK, &json!({"database": "ok"})),
        (&Method::GET, "/user/auth-tokens/rotate") => rotate_and_return(sessions, &request),
        (&Method::POST, "/api/user/auth-tokens/rotate") => rotate(sessions, request.headers()),
        (_, "/login" | "/api/health") => wrong_method("GET, POST"),
        (&Method::GET, path) if path.starts_with("/public/") => pages::asset(path),
        _ => match sessions.caller(request.headers()) {
            Ok(user) => signed_in(sessions, user, request).await,
            Err(users::Refusal::Rotate) if wants_page(&request) => {
                redirect(&format!("/user/auth-tokens/rotate?redirectTo={path}"))
            }
            Err(_) if wants_page(&request) => redirect("/login"),
            Err(refusal) => refusal.into_response(),
        },
    }
}

async fn signed_in(
    sessions: &Sessions,
    user: &'static User,
    request: Request<Incoming>,
) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => pages::home(user),
        (&Method::POST, "/logout") => sign_out(sessions, request.headers()),
        (&Method::GET, "/api/user") => web::json(StatusCode::OK, &user.identity()),
        (&Method::GET, "/api/access-control/user/permissions") => {
            web::json(StatusCode::OK, &user.permissions())
        }
        (&Method::GET, "/api/admin/stats") => stats(user),
        (&Method::GET, "/api/arrived") => web::json(StatusCode::OK, &arrived(&request)),
        (&Method::GET, "/api/live/ws") => live::websocket(request),
        (&Method::GET, "/api/live/events") => live::events(),
        (&Method::POST, "/api/upload") => upload::receive(request.into_body()).await,
        _ => web::json(StatusCode::NOT_FOUND, &json!({"message": "Not found"})),
    }
}

/// Whether a signed-in browser was sent here by another site. A proxy that changes `Host` looks the same.
fn is_foreign(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if (reads && !headers.contains_key(UPGRADE)) || users::session_of(headers).is_none() {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    origin.as_ref().and_then(Uri::authority).map(|authority| authority.as_str()) != host
}

async fn sign_in(sessions: &Sessions, request: Request<Incoming>) -> Response<Body> {
    let back = way_back(&request);
    let body = web::read(request.into_body(), 4096).await.unwrap_or_default();
    let Some(cookie) = sessions.sign_in(&body) else {
        return pages::login(StatusCode::UNAUTHORIZED, "Invalid username or password");
    };
    let mut response = redirect(&back);
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}

/// Where to go after a sign-in or a rotation: `redirectTo`, if that is a path of this dashboard.
fn way_back<B>(request: &Request<B>) -> String {
    let asked = request.uri().query().and_then(|query| users::field(query, "redirectTo"));
    let is_own = |path: &String| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    asked.filter(is_own).unwrap_or_else(|| "/".to_owned())
}

/// A navigation with a session that must be rotated.
fn rotate_and_return(sessions: &Sessions, request: &Request<Incoming>) -> Response<Body> {
    let back = way_back(request);
    match sessions.rotate(request.headers()) {
        Some(cookie) => {
            let mut response = redirect(&back);
            response.headers_mut().insert(SET_COOKIE, cookie);
            response
        }
        None => redirect("/login"),
    }
}

/// The same for a script.
fn rotate(sessions: &Sessions, headers: &HeaderMap) -> Response<Body> {
    match sessions.rotate(headers) {
        Some(cookie) => {
            let mut response = web::json(StatusCode::OK, &json!({}));
            response.headers_mut().insert(SET_COOKIE, cookie);
            response
        }
        None => users::Refusal::Unauthorized.into_response(),
    }
}

fn sign_out(sessions: &Sessions, headers: &HeaderMap) -> Response<Body> {
    sessions.sign_out(headers);
    let mut response = redirect("/login");
    let gone =
        HeaderValue::from_static("grafana_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    response.headers_mut().insert(SET_COOKIE, gone);
    response
}

fn stats(user: &User) -> Response<Body> {
    if !user.is_admin() {
        return users::access_denied("server:stats:read");
    }
    let stats = json!({
        "users": 3, "activeUsers": 3, "activeAdmins": 1, "activeEditors": 1, "activeViewers": 1,
        "activeDevices": 0, "activeSessions": 1, "dashboards": 1
    });
    web::json(StatusCode::OK, &stats)
}

/// The header fields that proxies set, without secrets.
fn arrived(request: &Request<Incoming>) -> Value {
    const SHOWN: [&str; 8] = [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-real-ip",
        "x-request-id",
        "via",
    ];
    let text = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        json!({"field": name, "value": value})
    };
    SHOWN.iter().copied().map(text).collect()
}

fn wants_page(request: &Request<Incoming>) -> bool {
    !request.uri().path().starts_with("/api/") && request.method() == Method::GET
}

fn redirect(to: &str) -> Response<Body> {
    let mut response = web::answer(StatusCode::SEE_OTHER, "text/plain", "");
    let to = to.parse().unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, to);
    response
}

fn wrong_method(allowed: &'static str) -> Response<Body> {
    let mut response = web::answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
