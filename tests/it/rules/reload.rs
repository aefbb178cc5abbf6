//! Rules change while the gate runs.

use std::net::TcpStream;

use tokio_tungstenite::tungstenite::{Message, client};

use super::{reports, ruled};
use crate::support::gate::PATIENCE;
use crate::support::http::{Answer, request};
use crate::support::scene::Scene;
use crate::support::wire::Wire;

/// Writes other rules, and reloads.
fn reload(scene: &Scene, rules: &[&str]) -> Answer {
    let file = scene.gate.dir().join("gate.toml");
    let text = std::fs::read_to_string(&file).expect("a configuration");
    let others = text.lines().filter(|line| !line.starts_with("gate.rules"));
    let mut text: String = others.flat_map(|line| [line, "\n"]).collect();
    if !rules.is_empty() {
        text.push_str(&format!("gate.rules = [{}]\n", rules.join(", ")));
    }
    std::fs::write(&file, text).expect("written");
    request(scene.gate.admin(), "POST", "/-/reload").send()
}

fn denied(scene: &Scene, rule: &str) -> String {
    let name = "license_gate_gate_denied_total";
    scene.gate.metric(&format!("{name}{{rule=\"{rule}\",dry_run=\"false\"}}"))
}

/// The license page.
fn page(scene: &Scene) -> String {
    let asked = scene.admin("GET", "/api/licensing/").field("Accept", "text/html");
    asked.send().is(200).text().to_owned()
}

#[test]
fn other_rules_apply_to_the_next_request_and_what_is_open_goes_on() {
    let scene = ruled(&[&reports("")]).set("admin.listen", "\"127.0.0.1:0\"").start();
    let stream = TcpStream::connect(scene.gate.address).expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let (mut socket, _) = client("ws://d/ws", stream).expect("opened");
    let mut download = Wire::connect(scene.gate.address);
    download.get("/download");
    assert_eq!(download.head().status(), 200);
    let mut kept = Wire::connect(scene.gate.address);
    let mut goes_on = |block: &str| {
        socket.send(Message::text(block)).expect("sent");
        assert_eq!(socket.read().expect("an echo"), Message::text(block));
        scene.dashboard.feed(block.as_bytes());
        assert_eq!(download.chunk(), block.as_bytes());
    };
    let mut status = |path: &str| {
        kept.send(format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n"));
        kept.answer().status()
    };
    goes_on("first");
    assert_eq!((status("/api/reports/1"), status("/api/other")), (403, 200));
    assert_eq!(denied(&scene, "reports"), "1");
    assert!(
        page(&scene).contains("The gate rule <bdi dir=\"auto\">reports</bdi> refuses requests.")
    );

    // More rules.
    let live = "{ name = \"live\", paths = [\"/ws\", \"/download\", \"/api/other\"] }";
    let answer = reload(&scene, &[&reports(""), live]).is(200);
    assert!(answer.text().contains("changed: gate.rules"), "{}", answer.text());
    assert_eq!((status("/api/reports/1"), status("/api/other")), (403, 403));
    scene.ask("GET", "/download").send().is(403);
    goes_on("second");
    assert_eq!((&*denied(&scene, "reports"), &*denied(&scene, "live")), ("2", "2"));
    assert!(page(&scene).contains("2 gate rules refuse requests"));

    // Faults.
    for (rules, fault) in [
        (vec!["{ name = \"a\", paths = [\"api\"] }"], "does not start with a slash"),
        (vec![live, live], "live"),
        (vec!["{ name = \"a\", paths = [\"/a\"], grace = \"7\" }"], "grace"),
    ] {
        let answer = reload(&scene, &rules).is(400);
        assert!(answer.text().contains(fault), "{fault}: {}", answer.text());
        assert_eq!((status("/api/reports/1"), status("/api/other")), (403, 403), "{fault}");
        goes_on(fault);
    }
    assert_eq!((&*denied(&scene, "reports"), &*denied(&scene, "live")), ("5", "5"));

    // None, and one of them again.
    reload(&scene, &[]).is(200);
    assert_eq!((status("/api/reports/1"), status("/api/other")), (200, 200));
    assert!(!page(&scene).contains("Gate rules"));
    reload(&scene, &[&reports("")]).is(200);
    assert_eq!((status("/api/reports/1"), status("/api/other")), (403, 200));
    assert_eq!(denied(&scene, "reports"), "6");
    goes_on("last");
}

#[test]
fn the_page_of_before_a_reload_installs_and_restores_after_it() {
    let setup = ruled(&[&reports("")]).set("admin.listen", "\"127.0.0.1:0\"");
    let scene = setup.start();
    let revision = |page: &str| {
        let (_, rest) = page.split_once("name=\"revision\" value=\"").expect("a revision");
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let submit = |fields: &[(&str, &str)]| {
        let mut form = form_urlencoded::Serializer::new(String::new());
        let form = form.extend_pairs(fields).finish();
        let asked = scene.admin("POST", "/api/licensing/").field("Accept", "text/html");
        asked.field("Content-Type", "application/x-www-form-urlencoded").body(form).send()
    };
    let token = |id: &str| scene.vendor.token().with("jti", id).sign();
    let before = revision(&page(&scene));
    reload(&scene, &[&reports(", message = \"Other.\"")]).is(200);
    submit(&[("action", "install"), ("revision", &before), ("token", &token("J-1"))]).is(303);
    scene.ask("GET", "/api/reports/1").send().is(200);
    let first = revision(&page(&scene));
    submit(&[("action", "install"), ("revision", &first), ("token", &token("J-2"))]).is(303);
    let second = revision(&page(&scene));
    reload(&scene, &[&reports("")]).is(200);
    submit(&[("action", "rollback"), ("revision", &second), ("jti", "J-1")]).is(303);
    assert_eq!(scene.shown()["jti"], "J-1");
    scene.ask("GET", "/api/reports/1").send().is(200);
}
