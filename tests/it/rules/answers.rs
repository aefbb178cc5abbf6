//! The responses to refused requests.

use serde_json::{Value, json};

use super::{reports, ruled, unlicensed};
use crate::support::h2::{Conn, field, request};
use crate::support::vendor::{DAY, now};
use crate::support::wire::Wire;

fn time_of(moment: u64) -> String {
    license_gate::clock::UnixTime::from_secs(moment).to_string()
}

#[test]
fn programs_get_json_that_states_what_is_missing() {
    let setup = ruled(&[&reports(", grace = \"1d\", message = \"Ask \\\"Ops\\\" <ops@a>.\"")]);
    let end = now() - 2 * DAY;
    let token = setup.vendor.token().with("iat", end - DAY).with("exp", end).sign();
    let scene = setup.stored(token).start();
    let answer = scene.ask("POST", "/api/reports/1").body("{}").send().is(403);
    assert_eq!(answer.value("content-type").unwrap_or_default(), "application/json");
    assert_eq!(answer.value("cache-control").unwrap_or_default(), "no-store");
    let body: Value = answer.json();
    let expected = json!({
        "rule": "reports", "license": { "status": 5 }, "since": time_of(end + DAY),
    });
    assert_eq!((&body["extra"], &body["statusCode"]), (&expected, &json!(403)));
    assert_eq!(body["messageId"], "licensing.required");
    assert_eq!(body["traceID"], answer.value("x-request-id").unwrap_or_default());
    let message = body["message"].as_str().expect("a message");
    let parts = [
        "a valid license",
        &time_of(end),
        &time_of(end + DAY),
        "Ask \"Ops\" <ops@a>.",
        "/api/licensing/",
    ];
    for part in parts {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!(scene.dashboard.count(), 0, "nothing was forwarded");
}

#[test]
fn people_get_a_page_with_a_link_to_the_license() {
    let scene = unlicensed(&[&reports(", message = \"Ask <b>Ops</b>.\"")]);
    let ask = |fields: &[(&str, &str)]| {
        let request = scene.ask("GET", "/api/reports/1");
        let request =
            fields.iter().fold(request, |request, (name, value)| request.field(name, value));
        request.send().is(403)
    };
    let accept = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let page = ask(&[accept, ("Sec-Fetch-Mode", "navigate")]);
    assert_eq!(page.value("content-type").unwrap_or_default(), "text/html; charset=utf-8");
    assert_eq!(page.value("cache-control").unwrap_or_default(), "no-store");
    assert!(
        page.value("content-security-policy").unwrap_or_default().contains("default-src 'none'")
    );
    let text = page.text();
    for part in [
        "This part of the dashboard needs a valid license.",
        "There is no license.",
        "Ask &lt;b&gt;Ops&lt;/b&gt;.",
        "href=\"/api/licensing/\"",
        "reports",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // Its stylesheet needs no credentials, and its policy allows it.
    let policy = page.value("content-security-policy").unwrap_or_default();
    assert!(policy.contains("style-src 'self'") && !policy.contains("script-src"), "{policy}");
    assert!(!text.contains("<script") && !text.contains("<form"), "{text}");
    let (_, style) = text.split_once("rel=\"stylesheet\" href=\"").expect("a stylesheet");
    let style = scene.ask("GET", style.split('"').next().unwrap_or_default()).send().is(200);
    assert_eq!(style.value("content-type").unwrap_or_default(), "text/css; charset=utf-8");
    assert!(ask(&[accept]).value("content-type").unwrap_or_default().starts_with("text/html"));
    let scripts: [&[(&str, &str)]; 4] = [
        &[],
        &[("Accept", "application/json")],
        &[accept, ("X-Requested-With", "XMLHttpRequest")],
        &[accept, ("Sec-Fetch-Mode", "cors")],
    ];
    for fields in scripts {
        assert_eq!(
            ask(fields).value("content-type").unwrap_or_default(),
            "application/json",
            "{fields:?}"
        );
    }
}

#[test]
fn the_page_states_when_the_grace_ended() {
    let setup = ruled(&[&reports(", grace = \"1d\""), "{ name = \"now\", paths = [\"/now\"] }"]);
    let end = 1_700_000_000;
    let token = setup.vendor.token().with("iat", end - DAY).with("exp", end).sign();
    let scene = setup.stored(token).start();
    let page = |path| scene.ask("GET", path).field("Accept", "text/html").send().is(403);
    let reports = page("/api/reports/1");
    let parts = [
        "The license token ended on <time datetime=\"2023-11-14T22:13:20Z\">14 November 2023, 22:13 UTC</time>.",
        "The grace ended on <time datetime=\"2023-11-15T22:13:20Z\">15 November 2023, 22:13 UTC</time>.",
        "Ask the administrator of this dashboard.",
        reports.value("x-request-id").unwrap_or_default(),
    ];
    for part in parts {
        assert!(reports.text().contains(part), "{part} in {}", reports.text());
    }
    assert!(!page("/now").text().contains("grace"), "without grace, none has ended");
    for secret in ["L-1", "1001", "Example", "company"] {
        assert!(!reports.text().contains(secret), "{secret} in {}", reports.text());
    }
}

#[test]
fn the_page_links_below_the_base_path() {
    let setup =
        ruled(&[&reports("")]).set("server.root_url", "\"http://metrics.example/grafana/\"");
    let scene = setup.start();
    for path in ["/api/reports/1", "/grafana/api/reports/1"] {
        let page = scene.ask("GET", path).field("Accept", "text/html").send().is(403);
        for link in ["/grafana/", "/grafana/api/licensing/", "/grafana/api/licensing/assets/"] {
            assert!(page.text().contains(&format!("href=\"{link}")), "{link} at {path}");
        }
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let scene = unlicensed(&[&reports("")]);
    let length = scene
        .ask("GET", "/api/reports")
        .send()
        .is(403)
        .value("content-length")
        .unwrap_or_default()
        .to_owned();
    let head = scene.ask("HEAD", "/api/reports").send().is(403);
    assert_eq!((head.value("content-length").unwrap_or_default(), head.body.len()), (&*length, 0));
}

#[test]
fn grpc_gets_its_own_status() {
    let scene = unlicensed(&[&reports(", message = \"100 % für Ops\"")]);
    let mut client = Conn::connect(scene.gate.address);
    let grpc = [("content-type", "application/grpc+proto"), ("te", "trailers")];
    client.ask(&[&request("POST", "/api/reports/Call")[..], &grpc].concat(), false);
    let (_, fields, end) = client.head();
    assert!(end, "trailers only");
    let field = |name| field(&fields, name).unwrap_or_default();
    assert_eq!((&*field(":status"), &*field("grpc-status")), ("200", "7"));
    assert_eq!(field("content-type"), "application/grpc+proto");
    let message = field("grpc-message");
    assert!(message.contains("there is no license. 100 %25 f%C3%BCr Ops"), "{message}");
    // What only resembles gRPC is refused as usual.
    let other = scene.ask("POST", "/api/reports").field("Content-Type", "application/grpcx");
    other.body("x").send().is(403);
}

#[test]
fn a_connection_survives_a_refusal_with_its_body() {
    let scene = unlicensed(&[&reports("")]);
    let mut client = Wire::connect(scene.gate.address);
    for _ in 0..3 {
        client.send("POST /api/reports/1 HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.answer_to("POST").status(), 403);
    }
    client.send("GET /d/x HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn refusals_are_counted_and_logged_once_a_minute_without_secrets() {
    let setup = ruled(&[
        &reports(""),
        "{ name = \"try\", paths = [\"/api/try\"], dry_run = true }",
        "{ name = \"open\", paths = [\"/api/open\"], allow = true }",
    ]);
    let scene = setup.set("admin.listen", "\"127.0.0.1:0\"").set("log.access", "true").start();
    let denied = |rule: &str, dry_run: bool| {
        let name = "license_gate_gate_denied_total";
        scene.gate.metric(&format!("{name}{{rule=\"{rule}\",dry_run=\"{dry_run}\"}}"))
    };
    assert_eq!((&*denied("reports", false), &*denied("try", true)), ("0", "0"));
    for _ in 0..3 {
        scene.ask("GET", "/api/reports/x?token=hunter2").send().is(403);
        scene.ask("GET", "/api/try/").send().is(200);
        // A path that ends like the API's check is routed once, too.
        scene.ask("GET", "/api/reports/check").send().is(403);
    }
    assert_eq!((&*denied("reports", false), &*denied("try", true)), ("6", "3"));
    let log = scene.gate.log();
    log.wait_for("event=gate.denied rule=\"reports\"");
    log.wait_for("event=gate.would_deny rule=\"try\"");
    assert_eq!((log.count("gate.denied"), log.count("gate.would_deny")), (1, 1));
    assert_eq!(log.count("hunter2"), 0);
    scene.gate.access().wait_for("/api/reports/x");
    let metrics = crate::support::http::request(scene.gate.admin(), "GET", "/metrics").send();
    assert!(!metrics.text().contains("rule=\"open\""), "{}", metrics.text());
}
