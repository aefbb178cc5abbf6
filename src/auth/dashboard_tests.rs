//! The verdicts for the dashboard's responses.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;

use http::HeaderMap;

use super::*;

/// A dashboard with scripted responses that records the requests.
#[derive(Clone, Default)]
struct Scripted {
    answers: Rc<RefCell<VecDeque<Response<Bytes>>>>,
    asked: Rc<RefCell<Vec<Request<()>>>>,
}

impl Scripted {
    fn answering(answers: &[(u16, &'static str)]) -> Self {
        let answer = |(status, body): &(u16, &'static str)| {
            let answer = Response::builder().status(*status);
            answer.body(Bytes::from_static(body.as_bytes())).expect("an answer")
        };
        let scripted = Self::default();
        scripted.answers.borrow_mut().extend(answers.iter().map(answer));
        scripted
    }
}

impl Dashboard for Scripted {
    async fn fetch(
        &self,
        request: Request<()>,
        _limit_bytes: usize,
    ) -> Result<Response<Bytes>, upstream::Error> {
        self.asked.borrow_mut().push(request);
        let next = self.answers.borrow_mut().pop_front();
        match next {
            Some(answer) => Ok(answer),
            None => std::future::pending().await,
        }
    }

    fn run(&self, work: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(work);
    }

    async fn stopping(&self) {
        std::future::pending().await
    }
}

fn credential() -> Credential {
    let mut headers = HeaderMap::new();
    headers.insert("cookie", "theme=dark; sid=secret".parse().expect("a value"));
    Credential::of(&headers, Some("sid")).expect("a credential")
}

async fn verdict(dashboard: &Scripted) -> Verdict {
    let user_api = UserApi::new(&Config::default(), "dash.example");
    let caller = Caller { address: Ipv4Addr::LOCALHOST.into(), request_id: "r1" };
    user_api.grants(&credential(), caller, dashboard).await
}

const NOBODY: (u16, &str) = (200, r#"{"login":"x","isGrafanaAdmin":false}"#);

#[tokio::test]
async fn each_response_has_its_verdict() {
    let cases: [(&[(u16, &str)], &str); 16] = [
        (&[(200, r#"{"isGrafanaAdmin":true,"isDisabled":false}"#)], "Grants(7)"),
        (&[(200, r#"{"isGrafanaAdmin":true}"#)], "Grants(7)"),
        (&[(200, r#"{"isGrafanaAdmin":true,"isDisabled":true}"#), (200, "{}")], "Grants(0)"),
        (&[(200, r#"{"isGrafanaAdmin":"true"}"#), (200, "{}")], "Grants(0)"),
        (&[NOBODY, (200, r#"{"licensing:read":[""],"licensing:delete":[]}"#)], "Grants(5)"),
        (&[NOBODY, (200, r#"{"licensing:*":["*"]}"#)], "Grants(0)"),
        (&[NOBODY, (403, "{}")], "Grants(0)"),
        (&[NOBODY, (404, "nothing here")], "Grants(0)"),
        (&[NOBODY, (200, "[]")], "Unavailable"),
        (&[NOBODY, (500, "{}")], "Unavailable"),
        (&[NOBODY, (401, "{}")], "Refused"),
        (&[(200, "<html>")], "Unavailable"),
        (&[(302, "")], "Unavailable"),
        (&[(403, "{}")], "Unavailable"),
        (&[(204, "")], "Unavailable"),
        (&[(503, r#"{"isGrafanaAdmin":true}"#)], "Unavailable"),
    ];
    for (answers, expected) in cases {
        let dashboard = Scripted::answering(answers);
        let verdict = verdict(&dashboard).await;
        let verdict = match verdict {
            Err(denied) => format!("{denied:?}"),
            Ok(known) => format!("{:?}", known.grants),
        };
        assert!(verdict.starts_with(expected), "{answers:?}: {verdict}");
        assert_eq!(dashboard.asked.borrow().len(), answers.len());
    }
}

#[tokio::test]
async fn an_empty_login_is_ignored_and_so_is_a_byte_order_mark() {
    let answers = [
        ("\u{feff}{\"login\":\"ops\",\"isGrafanaAdmin\":true}\r\n", Some("ops")),
        (r#"{"login":"","isGrafanaAdmin":true}"#, None),
        (r#"{"login":" ","isGrafanaAdmin":true}"#, None),
    ];
    for (answer, expected) in answers {
        let known = verdict(&Scripted::answering(&[(200, answer)])).await.expect("granted");
        assert_eq!(known.login.as_deref(), expected, "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_has_the_dashboards_message() {
    let cases = [
        (
            r#"{"message":"Invalid username or password","messageId":"password-auth.failed"}"#,
            ("password-auth.failed", "Invalid username or password"),
        ),
        ("", ("auth.unauthorized", "Unauthorized")),
        ("<html>", ("auth.unauthorized", "Unauthorized")),
        (r#"{"message":"No","messageId":"a b\"<"}"#, ("auth.unauthorized", "No")),
    ];
    for (body, (expected_code, expected_message)) in cases {
        let dashboard = Scripted::answering(&[(401, body)]);
        match verdict(&dashboard).await {
            Err(Denied::Refused { code, message }) => {
                assert_eq!((&*code, &*message), (expected_code, expected_message));
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_dashboard_is_unavailable() {
    let denied = verdict(&Scripted::default()).await.expect_err("silence");
    match denied {
        Denied::Unavailable(error) => assert!(matches!(*error, LookupError::Timeout { .. })),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_has_the_credential_and_the_client_and_nothing_else() {
    let dashboard = Scripted::answering(&[(401, "")]);
    verdict(&dashboard).await.expect_err("refused");
    let asked = dashboard.asked.borrow();
    let headers = asked[0].headers();
    assert_eq!(asked[0].uri(), "/api/user");
    assert_eq!(headers["cookie"], "sid=secret");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["host"], "dash.example");
    assert!(!headers.contains_key("authorization"));
}
