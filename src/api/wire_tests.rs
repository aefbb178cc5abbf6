//! Reading and writing JSON.

use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::license::{Algorithm, KeyPair, verify};

#[derive(Debug, Deserialize, PartialEq)]
struct Named {
    name: Option<Value>,
}

async fn read(content_type: Option<&str>, body: &[u8]) -> Result<Named, BodyError> {
    let mut request = Request::post("/");
    if let Some(content_type) = content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    let body = Full::new(Bytes::copy_from_slice(body));
    let (head, body) = request.body(body).expect("a request").into_parts();
    read_json(&head, body).await
}

#[tokio::test]
async fn bodies_must_be_json_objects() {
    let cases = [
        (r#"{"name":"x"}"#, "Ok"),
        (" {\"name\":\"x\",\"other\":[{}]}\n", "Ok"),
        ("{}", "Ok"),
        (r#"{"name":1}"#, "Ok"),
        (r#"{"name":"x","name":"y"}"#, "NotJson"),
        (r#"{"name":"x"} x"#, "NotJson"),
        (r#"{"name":"x""#, "NotJson"),
        ("\u{feff}{}\r\n", "Ok"),
        ("{\u{feff}}", "NotJson"),
        ("", "NotJson"),
        ("[\"x\"]", "NotAnObject"),
        ("null", "NotAnObject"),
        ("[", "NotJson"),
    ];
    for (body, expected) in cases {
        let outcome = match read(Some("application/json"), body.as_bytes()).await {
            Ok(_) => "Ok".to_owned(),
            Err(error) => format!("{error:?}"),
        };
        assert!(outcome.starts_with(expected), "{body}: {outcome}");
    }
    let latin = read(Some("application/json"), b"{\"a\":\"\xff\"}").await;
    assert!(matches!(latin, Err(BodyError::NotUtf8)));
}

#[tokio::test]
async fn errors_do_not_quote_the_body() {
    let error = read(Some("application/json"), br#"{"name":"a","name":"secret"}"#).await;
    let error = error.expect_err("twice");
    assert!(!format!("{error:?} {error}").contains("secret"));
}

#[tokio::test]
async fn the_content_type_must_be_json() {
    let cases = [
        (Some("application/json"), true),
        (Some("Application/JSON; charset=utf-8"), true),
        (Some("application/problem+json"), true),
        (Some("application/+json"), false),
        (Some("application/jsonp"), false),
        (Some("text/json"), false),
        (Some("text/plain"), false),
        (Some(""), false),
        (None, false),
    ];
    for (content_type, accepted) in cases {
        let refused = matches!(read(content_type, b"{}").await, Err(BodyError::ContentType));
        assert_eq!(!refused, accepted, "{content_type:?}");
    }
}

#[tokio::test]
async fn the_limit_is_exact_and_applies_to_content_length_too() {
    let body = |bytes: usize| format!("{{}}{}", " ".repeat(bytes - 2)).into_bytes();
    assert!(read(Some("application/json"), &body(MAX_BODY_BYTES)).await.is_ok());
    let over = read(Some("application/json"), &body(MAX_BODY_BYTES + 1)).await;
    assert!(matches!(over, Err(BodyError::TooLarge)));

    let request = Request::post("/")
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, MAX_BODY_BYTES + 1)
        .body(NeverRead)
        .expect("a request");
    let (head, body) = request.into_parts();
    assert!(matches!(read_json::<Named>(&head, body).await, Err(BodyError::TooLarge)));
}

/// A body that fails the test when it is read.
struct NeverRead;

impl Body for NeverRead {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        panic!("the body was read")
    }
}

#[test]
fn without_a_license_all_fields_have_zero_values() {
    assert_eq!(
        render(Status::NotFound, None),
        r#"{"status":4,"jti":"","iss":"","sub":"","iat":0,"exp":0,"nbf":0,"lexp":0,"lid":"","limit_by":"","included_users":0,"lic_exp_warn_days":0,"tok_exp_warn_days":0,"update_days":0,"prod":null,"company":"","account":"","slug":"","usage_billing":false,"max_concurrent_user_sessions":0,"details_url":"","trial":false,"trial_exp":0,"anonymousRatio":0}"#
    );
}

#[test]
fn a_license_is_rendered_with_all_claims_in_order() {
    let claims = json!({
        "jti": "j", "iss": "i", "sub": "https://a.example/", "iat": 1, "exp": 2, "nbf": 3, "lexp": 4, "lid": 5,
        "limit_by": "users", "included_users": -6, "lic_exp_warn_days": 7, "tok_exp_warn_days": 8, "update_days": 9,
        "prod": ["p"], "company": "c", "account": "a", "slug": "s", "usage_billing": true,
        "max_concurrent_user_sessions": 10, "details_url": "d", "trial": true, "trial_exp": 11, "anonymousRatio": 12,
        "unknown": 13,
    });
    let issuer = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let token = issuer.sign(&claims).expect("a token");
    let license = verify(&token, &issuer.trusted()).expect("a license");
    assert_eq!(
        render(Status::Expired, Some(&license)),
        r#"{"status":5,"jti":"j","iss":"i","sub":"https://a.example/","iat":1,"exp":2,"nbf":3,"lexp":4,"lid":"5","limit_by":"users","included_users":-6,"lic_exp_warn_days":7,"tok_exp_warn_days":8,"update_days":9,"prod":["p"],"company":"c","account":"a","slug":"s","usage_billing":true,"max_concurrent_user_sessions":10,"details_url":"d","trial":true,"trial_exp":11,"anonymousRatio":12}"#
    );
}
