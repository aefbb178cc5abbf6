//! Responses to a script of the dashboard that is not signed in: no challenge, which would open the browser's password
//! dialog.

use crate::support::dashboard::Mood;
use crate::support::http::Answer;
use crate::support::scene::{Scene, Setup};

const CHECK: &str = "/api/licensing/check";

#[track_caller]
fn challenges(answer: &Answer, expected: bool) {
    let challenge = answer.value("www-authenticate");
    let basic = r#"Basic realm="license-gate", charset="UTF-8""#;
    assert_eq!(challenge, expected.then_some(basic), "{answer:?}");
}

#[test]
fn a_script_is_not_challenged_and_other_clients_are() {
    let cases: [(&[(&str, &str)], bool); 10] = [
        (&[], true),
        (&[("Sec-Fetch-Mode", "navigate")], true),
        (&[("Sec-Fetch-Site", "same-origin")], true),
        (&[("Sec-Fetch-Mode", "cors")], false),
        (&[("sec-fetch-mode", "same-origin")], false),
        (&[("SEC-FETCH-MODE", "no-cors"), ("Sec-Fetch-Dest", "image")], false),
        (&[("X-Requested-With", "XMLHttpRequest")], false),
        (&[("x-requested-with", "")], false),
        (&[("Sec-Fetch-Mode", "navigate"), ("X-Requested-With", "XMLHttpRequest")], false),
        // A `Connection` field that names others does not matter.
        (&[("Sec-Fetch-Mode", "cors"), ("Connection", "close, x-other")], false),
    ];
    let scene = Scene::new();
    for (fields, expected) in cases {
        for path in [CHECK, "/api/licensing/token", "/api/licensing/history"] {
            let request = fields
                .iter()
                .fold(scene.ask("GET", path), |request, (name, value)| request.field(name, value));
            let answer = request.send().fails(401, "auth.unauthorized");
            challenges(&answer, expected);
        }
    }
}

#[test]
fn the_same_applies_to_http_2() {
    use crate::support::h2::{Conn, get};
    let scene = Scene::new();
    let mut client = Conn::connect(scene.gate.address);
    for (mode, expected) in [("cors", false), ("navigate", true)] {
        client.ask(&[&get(CHECK)[..], &[("sec-fetch-mode", mode)]].concat(), true);
        let answer = client.whole();
        assert_eq!((answer.status(), answer.has("www-authenticate")), (401, expected), "{mode}");
    }
}

#[test]
fn the_dashboards_request_to_rotate_the_session_is_passed_on() {
    let scene = Setup::new().set("limits.failed_sign_ins_per_minute", 2).start();
    let words = r#"{"extra":null,"message":"Rotate your token","messageId":"session.token.rotate","statusCode":401,"traceID":""}"#;
    scene.dashboard.mood("/api/user", Mood::Says(401, words.to_owned()));
    let fetch = |method: &str, path: &str| {
        let request = scene.ask(method, path).field("Sec-Fetch-Mode", "cors");
        request.field("Cookie", "grafana_session=admin-session").send()
    };
    // On every path, and however often the page tries before it has rotated.
    for path in
        [CHECK, "/api/licensing/token", "/api/licensing/history", "/api/licensing/refresh-stats"]
    {
        let answer = fetch("GET", path).fails(401, "session.token.rotate");
        assert_eq!(answer.json()["message"], "Rotate your token");
        challenges(&answer, false);
    }
    scene.dashboard.be_good();
    assert_eq!(fetch("GET", CHECK).is(200).text(), "false");
    // The session may expire before the second request, for the permissions.
    scene.dashboard.mood("/api/access-control/user/permissions", Mood::Says(401, words.to_owned()));
    let request = scene.ask("GET", CHECK).field("Cookie", "grafana_session=reader-session");
    request.send().fails(401, "session.token.rotate");
}
