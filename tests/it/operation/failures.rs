//! A repeated failure is logged when it begins and when it ends, not for each request.

use crate::support::dashboard::Mood;
use crate::support::gate::Builder;
use crate::support::http::request;
use crate::support::origin::Origin;
use crate::support::scene::Scene;

const FAILED: &str = "a request failed";
const RECOVERED: &str = "requests no longer fail";

#[test]
fn a_dashboard_outage_is_logged_once_and_its_end_once() {
    let address = Origin::vacant();
    // Two workers share one log episode.
    let gate = Builder::before(address).set("server.workers", 2).start();
    for _ in 0..20 {
        request(gate.address, "GET", "/x").send().fails(502, "upstream.unreachable");
    }
    let line = gate.log().wait_for(FAILED);
    for part in ["event=request.failed", "code=\"upstream.unreachable\"", "failures=1 "] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    let origin = Origin::start_at(address);
    let asked = request(gate.address, "GET", "/x").start();
    origin.accept().serve("back");
    asked.answer().is(200);
    let line = gate.log().wait_for(RECOVERED);
    assert!(line.contains("failures=20 duration_ms="), "{line}");
    assert_eq!((gate.log().count(FAILED), gate.log().count(RECOVERED)), (1, 1));
}

#[test]
fn failed_identity_checks_are_logged_once_per_endpoint() {
    let scene = Scene::new();
    scene.dashboard.mood("/api/user", Mood::HangsUp);
    for path in ["/api/licensing/check", "/api/licensing/token"] {
        for _ in 0..5 {
            scene.admin("GET", path).send().fails(503, "auth.unavailable");
        }
    }
    scene.gate.log().wait_for_another(FAILED, 2);
    // Forwarding works, independently of the failure.
    scene.ask("GET", "/x").send().is(200);
    scene.dashboard.be_good();
    scene.admin("GET", "/api/licensing/check").send().is(200);
    let line = scene.gate.log().wait_for(RECOVERED);
    assert!(line.contains("failures=5 "), "{line}");
    assert_eq!((scene.gate.log().count(FAILED), scene.gate.log().count(RECOVERED)), (2, 1));
}
