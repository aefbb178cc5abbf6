//! The license page over HTTP: headers, sign-in, the forms and their failures. tests/e2e/page.rs opens it in a browser.

use serde_json::json;

use crate::support::dashboard::{Mood, User};
use crate::support::http::{Answer, Request, request};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::timed::Timed;
use crate::support::vendor::{DAY, ROOT_URL, now};

const PAGE: &str = "/api/licensing/";
const HTML: &str = "text/html,application/xhtml+xml";

/// A navigation of a browser.
fn navigation(scene: &Scene, target: &str) -> Request {
    scene.ask("GET", target).field("Accept", HTML).field("Sec-Fetch-Mode", "navigate")
}

/// The page as the administrator sees it.
fn page(scene: &Scene) -> Answer {
    navigation(scene, PAGE).basic("admin", "hunter2").send().is(200)
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A form that a browser sends, without credentials.
fn form(scene: &Scene, fields: &[(&str, &str)]) -> Request {
    let body: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    scene
        .ask("POST", PAGE)
        .field("Accept", HTML)
        .field("Content-Type", "application/x-www-form-urlencoded")
        .body(body.join("&"))
}

fn submit(scene: &Scene, fields: &[(&str, &str)]) -> Answer {
    form(scene, fields).basic("admin", "hunter2").send()
}

/// The revision in the forms of a page.
fn revision(page: &Answer) -> String {
    let (_, rest) = page.text().split_once("name=\"revision\" value=\"").expect("a revision");
    rest.split('"').next().expect("a value").to_owned()
}

#[track_caller]
fn done(answer: Answer, code: &str) {
    let answer = answer.is(303);
    assert_eq!(answer.value("location"), Some(&*format!("./?done={code}")));
    assert_eq!(answer.value("cache-control"), Some("no-store"));
}

#[track_caller]
fn shows(answer: &Answer, text: &str) {
    assert!(answer.text().contains(text), "{text} is not in {}", answer.text());
}

#[test]
fn the_page_and_its_assets_have_strict_headers_and_are_small() {
    let scene = Setup::new().set("server.root_url", "\"http://dash.example/grafana/\"").start();
    for base in ["", "/grafana"] {
        let page =
            navigation(&scene, &format!("{base}{PAGE}")).basic("admin", "hunter2").send().is(200);
        let expected = [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            (
                "content-security-policy",
                "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            ),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ];
        for (name, value) in expected {
            assert_eq!(page.value(name), Some(value), "{name}");
        }
        assert!(page.value("permissions-policy").is_some());
        assert!(!page.text().contains("style="), "the content policy forbids inline styles");
        let mut bytes = page.body.len();
        for (attribute, kind) in [
            ("href=\"assets/", "text/css; charset=utf-8"),
            ("src=\"assets/", "text/javascript; charset=utf-8"),
        ] {
            let (_, name) = page.text().split_once(attribute).expect(attribute);
            let name = name.split('"').next().expect("a name");
            let asset = scene.ask("GET", &format!("{base}{PAGE}assets/{name}")).send().is(200);
            assert_eq!(asset.value("content-type"), Some(kind));
            assert_eq!(asset.value("cache-control"), Some("public, max-age=31536000, immutable"));
            bytes += asset.body.len();
        }
        assert!(bytes < 40_000, "{bytes} bytes");
    }
    for unknown in ["", "style.css", "style.0000000000000000.css", "../token"] {
        let answer = scene.ask("GET", &format!("{PAGE}assets/{unknown}")).send();
        assert!([400, 404].contains(&answer.status), "{unknown}: {}", answer.status);
    }
    let moved = scene.ask("GET", "/api/licensing").send().is(308);
    assert_eq!(moved.value("location"), Some("/grafana/api/licensing/"));
}

#[test]
fn a_navigation_without_a_session_is_redirected_to_the_sign_in_once() {
    let scene = Setup::new().set("server.root_url", "\"https://dash.example/grafana/\"").start();
    let back = "%2Fgrafana%2Fapi%2Flicensing%2F";
    let cases = [
        (None, format!("/grafana/login?redirectTo={back}"), "l"),
        // The scripted dashboard returns `session.token.rotate` for an unknown session.
        (
            Some("grafana_session=old"),
            format!("/grafana/user/auth-tokens/rotate?redirectTo={back}"),
            "r",
        ),
    ];
    for (cookie, target, letter) in cases {
        let ask = |guard: Option<&str>| {
            let request = navigation(&scene, "/grafana/api/licensing/");
            let cookies: Vec<_> = cookie.into_iter().chain(guard).collect();
            if cookies.is_empty() { request } else { request.field("Cookie", cookies.join("; ")) }
                .send()
        };
        let answer = ask(None).is(303);
        assert_eq!(answer.value("location"), Some(&*target));
        let set = answer.values("set-cookie");
        let guard = format!(
            "license_gate_sign_in={letter}; Path=/grafana/api/licensing/; Max-Age=10; HttpOnly; SameSite=Lax; Secure"
        );
        let of_older = format!(
            "redirect_to={back}; Path=/grafana; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(set, [guard, of_older]);
        let again = ask(Some(&format!("license_gate_sign_in={letter}"))).is(401);
        shows(&again, "The dashboard sent you back here without a session.");
        shows(&again, &target.replace('&', "&amp;"));
        assert_eq!(again.value("www-authenticate"), None, "a prompt would not help");
        // Neither do both redirects in turn loop.
        ask(Some("license_gate_sign_in=lr")).is(401);
        ask(Some("license_gate_sign_in=xxxxxx")).is(401);
    }
    let signed_in = navigation(&scene, PAGE)
        .field("Cookie", "license_gate_sign_in=l; grafana_session=admin-session");
    let set = signed_in.send().is(200);
    assert_eq!(
        set.values("set-cookie"),
        ["license_gate_sign_in=; Max-Age=0; HttpOnly; SameSite=Lax"]
    );
}

#[test]
fn only_a_navigation_is_redirected() {
    let scene = Setup::new().set("auth.login_path", "\"/sso?via=gate\"").start();
    let accepts = scene.ask("GET", PAGE).field("Accept", HTML).send().is(303);
    let back = "/sso?via=gate&redirectTo=%2Fapi%2Flicensing%2F";
    assert_eq!(accepts.value("location"), Some(back));
    scene.ask("GET", PAGE).send().fails(401, "auth.unauthorized");
    let script =
        scene.ask("GET", PAGE).field("Accept", HTML).field("Sec-Fetch-Mode", "cors").send().is(401);
    shows(&script, "You are not signed in at the dashboard.");
    let rotating = scene.ask("GET", PAGE).field("Accept", HTML).field("Sec-Fetch-Mode", "cors");
    shows(&rotating.field("Cookie", "grafana_session=old").send().is(401), "data-rotate");
    // A browser that sends Basic would send it again after a sign-in.
    let wrong = navigation(&scene, PAGE).basic("admin", "wrong").send().is(401);
    assert!(wrong.value("www-authenticate").is_some());
}

#[test]
fn with_local_users_the_browser_asks_for_name_and_password() {
    let hash = "$2y$04$dHFvFYyeU0ZnXtZ2xqJjSOhwQw2SMaIMfqfv9ZYnYvpAAw3iTRyoa";
    let user =
        format!("[{{ name = 'ops', password_hash = '{hash}', permissions = ['licensing:read'] }}]");
    let scene = Setup::new().set("auth.mode", "\"local\"").set("auth.users", user).start();
    let answer = navigation(&scene, PAGE).send().is(401);
    assert!(answer.value("www-authenticate").is_some());
    assert_eq!(answer.value("location"), None);
}

#[test]
fn who_may_not_see_the_license_is_shown_which_permission_is_missing() {
    let scene = Scene::new();
    scene.install(&scene.vendor.token().sign());
    let nobody = navigation(&scene, PAGE).basic("nobody", "n").send().is(403);
    shows(&nobody, "licensing:read");
    shows(&nobody, "nobody");
    assert!(!nobody.text().contains("L-1"), "nothing of the license");
    let reader = navigation(&scene, PAGE).basic("reader", "r").send().is(200);
    shows(&reader, "L-1");
    for absent in ["<form", "<button", "Recent changes"] {
        assert!(!reader.text().contains(absent), "{absent}");
    }
    let refused = form(&scene, &[("action", "renew")]).basic("reader", "r").send().is(403);
    shows(&refused, "licensing:write");
    // Without licensing:read, an action works, and the page after it does not.
    let token = scene.vendor.token().sign();
    done(
        form(&scene, &[("action", "install"), ("token", &token)]).basic("writer", "w").send(),
        "installed",
    );
    scene.holds(&token);
    form(&scene, &[("action", "install"), ("token", "x")]).basic("writer", "w").send().is(400);
}

#[test]
fn while_the_dashboard_is_down_the_page_says_so_and_shows_nothing() {
    let scene = Setup::new().set("admin.listen", "\"127.0.0.1:0\"").start();
    scene.install(&scene.vendor.token().with("company", "Secret Ltd").sign());
    scene.dashboard.mood("/api/user", Mood::HangsUp);
    let down = navigation(&scene, PAGE).field("Cookie", "grafana_session=other").send().is(503);
    shows(&down, "The dashboard does not respond");
    shows(&down, "/readyz?verbose");
    // What it names works without the dashboard.
    let state = request(scene.gate.admin(), "GET", "/readyz?verbose").send().is(200);
    assert!(state.text().contains("[i] license: valid"), "{}", state.text());
    assert!(!down.text().contains("Secret Ltd"));
}

#[test]
fn an_unexpected_response_of_the_dashboard_is_not_called_an_outage() {
    let no_users = ["auth.mode = \"local\"", "which Grafana's user API does not send"];
    let cases: [(Mood, &str, &[&str]); 5] = [
        (Mood::Says(404, "{}".to_owned()), "responded to /api/user with status 404", &no_users),
        (Mood::Redirect, "responded to /api/user with status 302", &no_users),
        (
            Mood::Says(502, String::new()),
            "responded to /api/user with status 502",
            &["try again later"],
        ),
        (Mood::Html, "response to /api/user is not the JSON", &no_users[..1]),
        (Mood::HangsUp, "the dashboard is unreachable", &["try again later"]),
    ];
    let scene = Scene::new();
    for (mood, what, todo) in cases {
        let is_down = matches!(mood, Mood::HangsUp);
        scene.dashboard.mood("/api/user", mood);
        let answer = scene.ask("GET", "/api/licensing/token").basic("other", "x").send();
        let answer = answer.is(503).json();
        assert_eq!(answer["messageId"], "auth.unavailable");
        let message = answer["message"].as_str().expect("a message");
        for text in todo.iter().chain([&what]) {
            assert!(message.contains(text), "{text}: {message}");
        }
        assert_eq!(message.contains("unreachable"), is_down, "{message}");
        let page = navigation(&scene, PAGE).field("Cookie", "grafana_session=other").send().is(503);
        assert_eq!(page.text().contains("The dashboard does not respond"), is_down);
        assert_eq!(page.text().contains(what), !is_down, "{}", page.text());
    }
}

/// The part of a page with the former licenses.
fn formerly(text: &str) -> &str {
    let (_, rest) = text.split_once("id=\"history\"").expect("a history");
    rest.split_once("</section>").expect("its end").0
}

#[test]
fn changes_within_the_same_second_are_distinguished() {
    let gate = Timed::new();
    let page = || gate.ask("GET", PAGE).field("Accept", HTML).send().is(200).text().to_owned();
    let [one, two, three] = ["one", "two", "three"].map(|jti| gate.token().with("jti", jti).sign());
    let roll_back = |jti: &str| {
        let body = json!({ "jti": jti });
        gate.ask("POST", "/api/licensing/token/rollback").json(&body).send().is(200);
    };
    gate.post(&one).is(200);
    gate.post(&two).is(200);
    roll_back("one");
    gate.post(&three).is(200);
    let removal = json!({ "instance": ROOT_URL });
    gate.ask("DELETE", "/api/licensing/token").json(&removal).send().is(202);
    // A removal that finds nothing replaces nothing.
    gate.ask("DELETE", "/api/licensing/token").json(&removal).send().is(202);
    // "three" was removed, "one" replaced by "three", "two" by "one".
    let text = page();
    let text = formerly(&text);
    let causes = ["removed the license", "installed a license", "put a former license back"];
    let at = causes.map(|cause| text.match_indices(cause).map(|(at, _)| at).collect::<Vec<_>>());
    assert!(at.iter().all(|of_one| of_one.len() == 1) && at.is_sorted(), "{at:?} {text}");
    assert_eq!(text.matches("<time class=\"instant\"").count(), 3, "to the second: {text}");
}

#[test]
fn a_start_in_the_past_and_the_renewal_of_an_ended_license_are_named_as_they_are() {
    let started = |start: u64| {
        let setup = Setup::new().set("renewal.url", "\"http://127.0.0.1:1/\"");
        let token = setup.vendor.token().with("nbf", start).with("lexp", now() + 400 * DAY);
        let token = token.sign();
        let scene = setup.stored(token).start();
        page(&scene).text().to_owned()
    };
    let past = started(now() - DAY);
    assert!(past.contains("<dt>Started</dt>") && !past.contains("<dt>Starts</dt>"), "{past}");
    let future = started(now() + DAY);
    assert!(future.contains("<dt>Starts</dt>") && !future.contains("<dt>Started</dt>"));
    let setup = Setup::new().set("renewal.url", "\"http://127.0.0.1:1/\"");
    let token = setup.vendor.token().with("lexp", now() - DAY).sign();
    let scene = setup.stored(token).start();
    let ended = page(&scene);
    shows(
        &ended,
        "Order the next license from the issuer, and install its token here. If the issuer has extended this license, renew it.",
    );
    shows(&ended, "It changes the end of the license only if the issuer has extended the license.");
}

#[test]
fn a_missing_product_and_an_end_in_the_past_are_marked() {
    let setup = Setup::new().set("license.product", "\"reports\"");
    let token = setup.vendor.token().with("prod", json!(["alerts"])).sign();
    let scene = setup.stored(token).start();
    let shown = page(&scene);
    shows(&shown, "without <bdi dir=\"auto\">reports</bdi>, which license.product requires");
    assert!(!shown.text().contains("<dt>Ended</dt>"));
    let setup = Setup::new();
    let token = setup.vendor.token().with("iat", now() - 9 * DAY).with("exp", now() - DAY).sign();
    let scene = setup.stored(token).start();
    let shown = page(&scene);
    shows(&shown, "<dt>Ended</dt>");
    assert!(!shown.text().contains("which license.product requires"));
}

#[test]
fn every_action_works_by_form_and_leads_to_the_page_with_a_sentence() {
    let scene = Scene::new();
    let (one, two) = (
        scene.vendor.token().with("included_users", 25).sign(),
        scene.vendor.token().with("included_users", 40).sign(),
    );
    let seen = revision(&page(&scene));
    // Line breaks, quotes, `Bearer`, JSON.
    let pasted = format!("{{ \"token\": \"Bearer {}\" }}", &one);
    done(
        submit(&scene, &[("action", "install"), ("token", &pasted), ("revision", &seen)]),
        "installed",
    );
    scene.holds(&one);
    let checked = submit(&scene, &[("action", "check"), ("token", &two)]).is(200);
    shows(&checked, "This token can be installed");
    shows(&checked, "<td data-label=\"With this token\">40</td>");
    shows(&checked, &two);
    scene.holds(&one);
    let (half, rest) = two.split_at(two.len() / 2);
    let broken = format!("\"{half}\r\n  {rest}\"");
    done(
        submit(
            &scene,
            &[("action", "install"), ("token", &broken), ("revision", &revision(&checked))],
        ),
        "installed",
    );
    let former = jti(&one);
    let former = former.as_str().expect("text");
    let listed = page(&scene);
    shows(&listed, &format!("name=\"jti\" value=\"{former}\""));
    done(
        submit(
            &scene,
            &[("action", "rollback"), ("jti", former), ("revision", &revision(&listed))],
        ),
        "restored",
    );
    scene.holds(&one);
    let request = submit(&scene, &[("action", "request")]).is(200);
    assert_eq!(
        request.value("content-disposition"),
        Some("attachment; filename=\"renewal-request.json\"")
    );
    assert_eq!(request.json()["token"], one);
    assert_eq!(
        scene.admin("POST", "/api/licensing/token/request").send().is(200).json()["instance"],
        ROOT_URL
    );
    let wrong = submit(&scene, &[("action", "remove"), ("instance", "http://other/")]).is(422);
    shows(&wrong, "value=\"http://other/\"");
    shows(&wrong, "id=\"instance-error\"");
    done(submit(&scene, &[("action", "remove"), ("instance", ROOT_URL)]), "removed");
    scene.holds_nothing();
    let after = navigation(&scene, &format!("{PAGE}?done=removed"))
        .basic("admin", "hunter2")
        .send()
        .is(200);
    shows(&after, "The stored license is removed.");
    let other = navigation(&scene, &format!("{PAGE}?done=%3Cb%3E"))
        .basic("admin", "hunter2")
        .send()
        .is(200);
    assert!(!other.text().contains("notice good") && !other.text().contains("<b>"));
    submit(&scene, &[("action", "request")]).is(404);
}

#[test]
fn a_failure_is_the_page_with_the_status_of_the_api_and_the_reason_at_the_field() {
    let scene = Setup::new().set("renewal.url", "\"http://127.0.0.1:9/\"").start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let ended = scene.vendor.token().with("exp", now() - DAY).sign();
    let cases: [(&str, &str, &str); 6] = [
        ("install", "", "Paste a token, or choose its file."),
        ("check", "", "Paste a token, or choose its file."),
        ("install", &ended, "The license token expired at"),
        ("install", "not a token", "The token is not a compact JWS"),
        ("install", "{}", "This JSON has no text"),
        ("check", &format!("{token}\n{token}"), "This is more than one token: give one."),
    ];
    for (action, typed, reason) in cases {
        let answer = submit(&scene, &[("action", action), ("token", typed)]).is(400);
        shows(&answer, reason);
        shows(&answer, "id=\"token-error\"");
        shows(&answer, "aria-invalid=\"true\"");
        shows(&answer, typed);
        shows(&answer, "<title>Error: ");
    }
    let report = submit(&scene, &[("action", "check"), ("token", &ended)]).is(200);
    shows(&report, "This token cannot be installed");
    let renewal = submit(&scene, &[("action", "renew")]).is(502);
    shows(&renewal, "id=\"renewal-error\"");
    shows(&page(&scene), "but its renewal has failed since");
    shows(
        &submit(&scene, &[("action", "rollback"), ("jti", "J-none")]).is(404),
        "id=\"history-error\"",
    );
    submit(&scene, &[("action", "other")]).is(400);
    submit(&scene, &[]).is(400);
    let large = "x".repeat(200_000);
    let answer = submit(&scene, &[("action", "install"), ("token", &large)]).is(413);
    shows(&answer, "This is larger than 128 KiB");
    let json = scene.admin("POST", PAGE).field("Accept", HTML).json(&json!({})).send().is(415);
    shows(&json, "The form has an unexpected type");
    // A client that is not a browser gets JSON.
    let script =
        scene.admin("POST", PAGE).field("Content-Type", "application/x-www-form-urlencoded");
    script.body("action=install").send().fails(400, "licensing.token.missing");
    scene.holds(&token);
}

#[test]
fn a_file_is_accepted_and_a_picture_is_not() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    let part = |name: &str, content: &[u8]| {
        let head = format!(
            "--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n"
        );
        [head.as_bytes(), content, b"\r\n"].concat()
    };
    let send = |file: &[u8], typed: &[u8]| {
        let parts = [
            part("action", b"install"),
            part("token", typed),
            part("file", file),
            b"--B--\r\n".to_vec(),
        ];
        let request = scene.admin("POST", PAGE).field("Accept", HTML);
        request.field("Content-Type", "multipart/form-data; boundary=B").body(parts.concat()).send()
    };
    shows(&send(b"\x89PNG\r\n\x1a\n\0\0", b"").is(400), "This file is a picture");
    shows(&send(b"\x7fELF\0\xff", b"").is(400), "This file is not text");
    let other = scene.vendor.token().sign();
    shows(&send(other.as_bytes(), token.as_bytes()).is(400), "keep one of them");
    done(send(format!("{token}\r\n").as_bytes(), b""), "installed");
    scene.holds(&token);
    done(send(token.as_bytes(), token.as_bytes()), "installed");
}

#[test]
fn a_page_that_was_left_open_shows_what_changed_and_offers_to_go_on() {
    let scene = Scene::new();
    let (one, two) = (
        scene.vendor.token().with("included_users", 25).sign(),
        scene.vendor.token().with("included_users", 40).sign(),
    );
    scene.install(&one);
    let stale = revision(&page(&scene));
    scene.install(&two);
    let three = scene.vendor.token().with("included_users", 7).sign();
    let refused =
        submit(&scene, &[("action", "install"), ("token", &three), ("revision", &stale)]).is(412);
    shows(&refused, "The license was changed since you opened this page");
    shows(&refused, "<td data-label=\"Before\">25</td>");
    shows(&refused, "<td data-label=\"Now\">40</td>");
    shows(&refused, "installed a license");
    shows(&refused, &three);
    scene.holds(&two);
    done(
        submit(
            &scene,
            &[("action", "install"), ("token", &three), ("revision", &revision(&refused))],
        ),
        "installed",
    );
    let removal =
        submit(&scene, &[("action", "remove"), ("instance", ROOT_URL), ("revision", &stale)])
            .is(412);
    shows(&removal, "Go on: Remove the license");
    scene.remove().is(202);
    let gone = submit(&scene, &[("action", "renew"), ("revision", &revision(&removal))]).is(404);
    shows(&gone, "Renewal is off");
}

#[test]
fn an_action_whose_session_has_ended_comes_back_with_what_was_typed() {
    let scene = Scene::new();
    let own = format!("http://{}", scene.gate.address);
    let fields = [("action", "install"), ("token", "typed <b> before"), ("revision", "r")];
    for cookie in [None, Some("grafana_session=ended")] {
        let mut request = form(&scene, &fields).field("Origin", &own);
        if let Some(cookie) = cookie {
            request = request.field("Cookie", cookie);
        }
        let answer = request.send().is(401);
        shows(&answer, "typed &lt;b&gt; before");
        shows(&answer, "redirectTo=%2Fapi%2Flicensing%2F\" target=\"_blank\"");
        assert_eq!(answer.values("set-cookie"), [""; 0]);
    }
    // The text of another origin is not shown.
    let foreign = form(&scene, &fields).field("Origin", "http://evil.example").send().is(401);
    assert!(!foreign.text().contains("typed &lt;b&gt;"));
}

#[test]
fn a_page_of_another_origin_changes_nothing() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let other = scene.vendor.token().sign();
    let forms: [&[(&str, &str)]; 4] = [
        &[("action", "install"), ("token", &other)],
        &[("action", "remove"), ("instance", ROOT_URL)],
        &[("action", "renew")],
        &[("action", "request")],
    ];
    for fields in forms {
        for (name, value) in [
            ("Origin", "http://evil.example"),
            ("Origin", "null"),
            ("Sec-Fetch-Site", "cross-site"),
        ] {
            let answer = form(&scene, fields)
                .field("Cookie", "grafana_session=admin-session")
                .field(name, value)
                .send();
            let answer = answer.is(403);
            assert!(!answer.text().contains(&token), "nothing of the license");
        }
    }
    scene.holds(&token);
}

/// The names of a scripted user are untrusted too.
#[test]
fn hostile_claims_are_shown_as_text() {
    const HOSTILE: &str =
        "</dd><script>alert(1)</script>\" onload=x '\u{202e}txt\u{1f600}\u{1b}[2J";
    let scene = Scene::new();
    let names = ["jti", "iss", "company", "account", "slug", "limit_by", "details_url", "lid"];
    let long = "W".repeat(10_000);
    // Together, the long ones are larger than a token may be.
    for (text, names) in std::iter::once((HOSTILE, &names[..]))
        .chain(names.iter().map(|name| (&*long, std::slice::from_ref(name))))
    {
        let token = names.iter().fold(scene.vendor.token(), |token, name| token.with(name, text));
        scene.install(&token.with("prod", json!([text, text])).sign());
        // The id of a token in the form that restores it is whole, and not shown.
        let page = page(&scene);
        let mut parts = page.text().split("name=\"jti\" value=\"");
        let first = parts.next().unwrap_or_default().to_owned();
        let rest = parts.map(|part| part.split_once('"').map_or(part, |(_, rest)| rest));
        let shown = rest.fold(first, |shown, part| shown + part);
        for harmful in ["<script>", "\u{1b}", "\u{202e}", "\" onload", &"W".repeat(200)] {
            assert!(!shown.contains(harmful), "{harmful:?} in {shown}");
        }
    }
    for (link, is_link) in [
        ("https://issuer.example/1", true),
        ("HTTP://issuer.example/", true),
        ("javascript:alert(1)", false),
        ("data:text/html,x", false),
        ("//issuer.example/", false),
        ("https://a b/", false),
        ("https:x", false),
    ] {
        scene.install(&scene.vendor.token().with("details_url", json!(link)).sign());
        let page = page(&scene);
        assert_eq!(page.text().contains(&format!("<a href=\"{link}\"")), is_link, "{link}");
    }
}

#[test]
fn the_number_of_seats_comes_with_the_credentials_of_the_caller() {
    let scene = Scene::new();
    scene.install(&scene.vendor.token().with("included_users", 10).sign());
    let with =
        navigation(&scene, &format!("{PAGE}?seats=1")).basic("admin", "hunter2").send().is(200);
    shows(&with, "9 of 10 in use (90 %) \u{2013} nearly all are in use");
    scene.dashboard.mood("/api/admin/stats", Mood::Says(403, "{}".into()));
    let not = navigation(&scene, &format!("{PAGE}?seats=1")).basic("reader", "r").send().is(200);
    shows(&not, "The dashboard does not permit you to read its statistics");
}

#[test]
fn the_name_of_the_caller_is_shown_as_text() {
    let scene = Scene::new();
    scene.dashboard.welcome(User {
        name: "<img src=x>",
        password: "p",
        session: "hostile-session",
        admin: true,
        ..User::default()
    });
    let page =
        navigation(&scene, PAGE).field("Cookie", "grafana_session=hostile-session").send().is(200);
    shows(&page, "&lt;img src=x&gt;");
    assert!(!page.text().contains("<img"));
}
