//! The pages: two HTML files, a style sheet and a script. They are part of the binary, and have a strict content policy.

use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::users::User;
use crate::http_support::{self as web, Body};

const HOME: &str = include_str!("home.html");
const LOGIN: &str = include_str!("login.html");

/// The page with the charts.
pub(super) fn home(user: &User) -> Response<Body> {
    page(StatusCode::OK, HOME.replace("{login}", user.login).replace("{role}", user.role))
}

/// The sign-in page, with the error message `fault`.
pub(super) fn login(status: StatusCode, fault: &str) -> Response<Body> {
    page(status, LOGIN.replace("{fault}", fault))
}

/// A file below `/public/`.
pub(super) fn asset(path: &str) -> Response<Body> {
    match path {
        "/public/style.css" => web::answer(StatusCode::OK, "text/css", include_str!("style.css")),
        "/public/live.js" => {
            web::answer(StatusCode::OK, "text/javascript", include_str!("live.js"))
        }
        "/public/icon.svg" => {
            web::answer(StatusCode::OK, "image/svg+xml", include_str!("icon.svg"))
        }
        _ => web::json(StatusCode::NOT_FOUND, &json!({"message": "Not found"})),
    }
}

fn page(status: StatusCode, html: String) -> Response<Body> {
    let mut response = web::answer(status, "text/html; charset=utf-8", html);
    let policy = HeaderValue::from_static("default-src 'self'; frame-ancestors 'none'");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}
