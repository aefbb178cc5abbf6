//! An upload that is counted and hashed while it streams.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;

use crate::http_support::{self as web, Body};

/// `POST /api/upload`: `{"bytes": N, "sha256": "…"}` of the body; 400 if it was truncated.
pub(super) async fn receive(mut body: Incoming) -> Response<Body> {
    let mut hash = Context::new(&SHA256);
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return web::json(
                StatusCode::BAD_REQUEST,
                &json!({"message": "The upload was cut short"}),
            );
        };
        if let Some(piece) = frame.data_ref() {
            hash.update(piece);
            bytes += piece.len();
        }
    }
    let sha256 = hash.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    web::json(StatusCode::OK, &json!({"bytes": bytes, "sha256": sha256}))
}
