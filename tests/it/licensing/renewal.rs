//! `POST /api/licensing/token/renew`: the request to the issuer, and its answers.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::issuer::{self, Issuer, Script};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::{DAY, Token, Vendor, now};

/// A gate with a license issued an hour ago, and its issuer.
struct Renewing {
    scene: Scene,
    issuer: Issuer,
    /// The token in force.
    old: String,
}

impl Renewing {
    fn new() -> Self {
        Self::within("5s")
    }

    /// With this `renewal.timeout`.
    fn within(timeout: &str) -> Self {
        let issuer = Issuer::playing(Script::Silent);
        let setup = Setup::new()
            .set("renewal.url", format!("{:?}", issuer.url()))
            .set("renewal.timeout", format!("{timeout:?}"));
        let old = setup.vendor.token().with("iat", now() - 3600).sign();
        let scene = setup.stored(&old).start();
        Self { scene, issuer, old }
    }

    /// A newer token of the license in force.
    fn newer(&self) -> Token<'_> {
        self.scene.vendor.token()
    }

    /// Asserts that a renewal fails with this status and code, and changes nothing.
    #[track_caller]
    fn fails(&self, script: Script, status: u16, code: &str) -> Value {
        let what = format!("{script:.80?}");
        self.issuer.play(script);
        let answer = self.scene.renew();
        assert_eq!((answer.status, &*answer.code()), (status, code), "{what} {}", answer.text());
        self.scene.holds(&self.old);
        assert!(!answer.text().contains(&self.old[..20]), "{what}");
        answer.json()
    }
}

#[test]
fn the_issuers_newer_token_is_returned_and_in_force() {
    let renewing = Renewing::new();
    let token = renewing.newer().with("company", "Renewed Ltd").sign();
    renewing.issuer.play(Script::Grants(token.clone()));
    let answer = renewing.scene.renew().is(200);
    assert_eq!(answer.value("content-type"), Some("application/json"));
    assert_eq!(
        (&answer.json()["status"], &answer.json()["company"]),
        (&json!(1), &json!("Renewed Ltd"))
    );
    assert_eq!(answer.text(), renewing.scene.admin("GET", "/api/licensing/token").send().text());
    renewing.scene.holds(&token);
    renewing.scene.restart().holds(&token);
}

#[test]
fn the_request_has_the_token_in_force_and_instance_lid_and_jti() {
    let renewing = Renewing::new();
    renewing.issuer.play(Script::Grants(renewing.newer().sign()));
    renewing.scene.renew().is(200);
    let requests = renewing.issuer.questions();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let expected = format!(
        r#"{{"instance":"http://metrics.example/","lid":"L-1","jti":{}}}"#,
        jti(&renewing.old)
    );
    assert_eq!(request.body, expected);
    let head = &request.head;
    assert!(head.starts_with("POST /renew?tenant=7 HTTP/1.1\r\n"), "{head}");
    let bearer = format!("\r\nauthorization: Bearer {}\r\n", renewing.old);
    assert_eq!(head.to_lowercase().matches("authorization:").count(), 1);
    assert!(head.contains(&bearer) || head.contains(&bearer.replace("auth", "Auth")), "{head}");
    assert!(head.to_lowercase().contains("\r\ncontent-type: application/json\r\n"), "{head}");
}

#[test]
fn an_answer_may_arrive_one_byte_at_a_time() {
    let renewing = Renewing::new();
    let token = renewing.newer().sign();
    renewing.issuer.play(Script::Drips(token.clone()));
    renewing.scene.renew().is(200);
    renewing.scene.holds(&token);
}

#[test]
fn the_same_token_again_is_not_an_older_one() {
    let renewing = Renewing::new();
    renewing.issuer.play(Script::Grants(renewing.old.clone()));
    renewing.scene.renew().is(200);
    renewing.scene.holds(&renewing.old);
}

#[test]
fn a_token_that_is_not_accepted_is_502_with_the_reason() {
    let renewing = Renewing::new();
    let token = || renewing.newer();
    let stranger = Vendor::new();
    let tokens = [
        (token().with("sub", "http://other.example/").sign(), "licensed for http://other.example/"),
        (stranger.token().sign(), "no trusted key"),
        (stranger.sign_parts(r#"{"alg":"ES256"}"#, "{}"), "signature"),
        (token().with("exp", now() - DAY).sign(), "expired"),
        (token().with("lexp", now() - DAY).sign(), "expired"),
        (token().with("nbf", now() + DAY).sign(), "starts at"),
        (token().without("lid").sign(), "`lid`"),
        (token().signed_as(&json!({ "alg": "HS256" })), "HS256"),
    ];
    for (token, reason) in tokens {
        let error = renewing.fails(Script::Grants(token), 502, "licensing.renewal.rejected");
        assert!(error["message"].to_string().contains(reason), "{error}");
    }
}

#[test]
fn another_license_and_an_older_token_are_502() {
    let renewing = Renewing::new();
    let other = renewing.newer().with("lid", "L-2").sign();
    renewing.fails(Script::Grants(other), 502, "licensing.renewal.other-license");
    let older = renewing.newer().with("iat", now() - 3700).sign();
    renewing.fails(Script::Grants(older), 502, "licensing.renewal.older");
    let undated = renewing.newer().without("iat").sign();
    renewing.fails(Script::Grants(undated), 502, "licensing.renewal.older");
}

#[test]
fn an_issuer_that_refuses_is_502_and_its_redirects_are_not_followed() {
    let renewing = Renewing::new();
    let token = json!({ "token": renewing.newer().sign() }).to_string();
    for status in [
        "201 Created",
        "202 Accepted",
        "301 Moved",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "429 Slow",
        "500 Oops",
        "503 Away",
    ] {
        let answer = issuer::answer(status, &token);
        renewing.fails(Script::Says(answer), 502, "licensing.renewal.refused");
    }
    let elsewhere = Issuer::playing(Script::Grants(renewing.newer().sign()));
    let status = format!("307 Temporary Redirect\r\nLocation: {}", elsewhere.url());
    let answer = issuer::answer(&status, "");
    renewing.fails(Script::Says(answer), 502, "licensing.renewal.refused");
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_malformed_answer_is_502() {
    let renewing = Renewing::new();
    let ok = |body: &str| issuer::answer("200 OK", body);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned();
    let answers = [
        ok("<!doctype html><title>Sign in</title>"),
        ok(""),
        ok("{}"),
        ok("null"),
        ok("[]"),
        ok("\"a.b.c\""),
        ok(r#"{"token":1}"#),
        ok(r#"{"token":null}"#),
        ok(r#"{"token":""}"#),
        ok(r#"{"token":"abc"}"#),
        ok(r#"{"token":"....."}"#),
        ok(&"[".repeat(100_000)),
        ok(&format!("{{\"token\":\"{}\"}}", "a".repeat(65 << 10))),
        chunked,
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"token\":".into(),
        "SSH-2.0-x\r\n\r\n".into(),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(3 << 20)),
    ];
    for answer in answers {
        renewing.fails(Script::Says(answer), 502, "licensing.renewal.bad-answer");
    }
    renewing.fails(Script::HangsUp, 502, "licensing.renewal.bad-answer");
    let twice = format!(r#"{{"token":"{0}","token":"{0}"}}"#, renewing.newer().sign());
    renewing.fails(Script::Says(ok(&twice)), 502, "licensing.renewal.bad-answer");
}

#[test]
fn an_answer_of_3_mib_is_502_and_is_not_read_to_its_end() {
    let renewing = Renewing::new();
    let token = format!("{{\"token\":\"{}\"}}", "a".repeat(3 << 20));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(3 << 20));
    for answer in [issuer::answer("200 OK", &token), endless] {
        let error = renewing.fails(Script::Says(answer), 502, "licensing.renewal.bad-answer");
        assert!(error["message"].to_string().contains("longer than 131072 bytes"), "{error}");
    }
}

#[test]
fn an_issuer_that_is_silent_is_504() {
    let renewing = Renewing::within("300ms");
    renewing.fails(Script::Silent, 504, "licensing.renewal.timeout");
    renewing.fails(Script::Stalls, 504, "licensing.renewal.timeout");
    let slow = Script::Trickles(renewing.newer().sign());
    renewing.fails(slow, 504, "licensing.renewal.timeout");
    let token = renewing.newer().sign();
    renewing.issuer.play(Script::Grants(token.clone()));
    renewing.scene.renew().is(200);
    renewing.scene.holds(&token);
}

#[test]
fn an_issuer_that_is_unreachable_is_502() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    for url in [format!("http://{address}/"), "http://issuer.invalid/".into()] {
        let setup = Setup::new().set("renewal.url", format!("{url:?}"));
        let token = setup.vendor.token().sign();
        let scene = setup.stored(&token).start();
        scene.renew().fails(502, "licensing.renewal.unreachable");
        scene.holds(&token);
    }
}

#[test]
fn an_issuer_without_a_trusted_certificate_is_502_and_receives_no_token() {
    let issuer = Issuer::playing(Script::Silent);
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let url = issuer.url().replace("http:", "https:");
    let setup = Setup::new()
        .file("ca.pem", ca.cert.pem())
        .set("renewal.ca_file", "\"ca.pem\"")
        .set("renewal.timeout", "\"300ms\"")
        .set("renewal.url", format!("{url:?}"));
    let token = setup.vendor.token().sign();
    let scene = setup.stored(&token).start();
    // The issuer does not speak TLS.
    assert!(matches!(scene.renew().status, 502 | 504));
    assert!(issuer.questions().is_empty());
    scene.holds(&token);
}

#[test]
fn with_renewal_off_it_is_404_and_no_call_is_made() {
    for url in [None, Some("\"\"")] {
        let setup = Setup::new();
        let token = setup.vendor.token().sign();
        let setup = setup.stored(&token);
        let scene = match url {
            Some(url) => setup.set("renewal.url", url),
            None => setup,
        };
        let scene = scene.start();
        scene.renew().fails(404, "licensing.renewal.off");
        scene.holds(&token);
    }
}

#[test]
fn without_permission_or_license_no_call_is_made() {
    let issuer = Issuer::playing(Script::Silent);
    let scene = Setup::new().set("renewal.url", format!("{:?}", issuer.url())).start();
    scene.renew().fails(404, "licensing.token.not-found");
    scene.install(&scene.vendor.token().sign());
    let renew = || scene.ask("POST", "/api/licensing/token/renew");
    renew().json(&json!({})).send().is(401);
    renew().basic("reader", "r").json(&json!({})).send().is(403);
    renew().basic("deleter", "d").json(&json!({})).send().is(403);
    renew().basic("admin", "wrong").json(&json!({})).send().is(401);
    renew()
        .basic("admin", "hunter2")
        .field("Origin", "https://evil.example")
        .json(&json!({}))
        .send()
        .is(403);
    renew().basic("admin", "hunter2").body("{}").send().is(415);
    renew().basic("admin", "hunter2").json(&json!([])).send().is(400);
    scene.check();
    scene.remove().is(202);
    scene.renew().fails(404, "licensing.token.not-found");
    assert_eq!(issuer.connections(), 0);
}

#[test]
fn a_license_that_changes_during_the_renewal_is_not_overwritten() {
    let renewing = Renewing::new();
    let scene = &renewing.scene;
    renewing.issuer.play(Script::Ponders(renewing.newer().sign()));
    let pending = scene.admin("POST", "/api/licensing/token/renew").json(&json!({})).start();
    renewing.issuer.wait_for(1);
    scene.holds(&renewing.old);
    let by_hand = renewing.newer().with("iat", now() - DAY).sign();
    scene.install(&by_hand);
    renewing.issuer.release();
    pending.answer().fails(409, "licensing.renewal.superseded");
    scene.holds(&by_hand);
}

#[test]
fn a_license_removed_during_the_renewal_does_not_come_back() {
    let renewing = Renewing::new();
    let scene = &renewing.scene;
    renewing.issuer.play(Script::Ponders(renewing.newer().sign()));
    let pending = scene.admin("POST", "/api/licensing/token/renew").json(&json!({})).start();
    renewing.issuer.wait_for(1);
    scene.remove().is(202);
    scene.holds_nothing();
    renewing.issuer.release();
    pending.answer().fails(409, "licensing.renewal.superseded");
    scene.holds_nothing();
}

#[test]
fn removing_and_installing_the_license_during_the_renewal_is_a_change() {
    let renewing = Renewing::new();
    let scene = &renewing.scene;
    renewing.issuer.play(Script::Ponders(renewing.newer().sign()));
    let pending = scene.admin("POST", "/api/licensing/token/renew").json(&json!({})).start();
    renewing.issuer.wait_for(1);
    scene.remove().is(202);
    scene.install(&renewing.old);
    renewing.issuer.release();
    pending.answer().fails(409, "licensing.renewal.superseded");
    scene.holds(&renewing.old);
}

#[test]
fn concurrent_renewals_share_one_request() {
    let renewing = Renewing::new();
    let renew = || renewing.scene.admin("POST", "/api/licensing/token/renew").json(&json!({}));
    let token = renewing.newer().sign();
    renewing.issuer.play(Script::Ponders(token.clone()));
    let pending: Vec<_> = (0..4).map(|_| renew().start()).collect();
    renewing.issuer.wait_for(1);
    // With one worker, the gate reads earlier requests before it responds to later ones.
    renewing.scene.check();
    renewing.scene.check();
    renewing.issuer.release();
    pending.into_iter().for_each(|pending| drop(pending.answer().is(200)));
    // Requests that were authorized after the issuer's answer start a second renewal.
    let (requests, at_once) = (renewing.issuer.questions().len(), renewing.issuer.most_open());
    assert!(requests <= 2 && at_once == 1, "{requests} requests, {at_once} at once");
    renewing.scene.holds(&token);
}

#[test]
fn a_renewal_completes_even_if_its_caller_disconnects() {
    let renewing = Renewing::new();
    let token = renewing.newer().sign();
    renewing.issuer.play(Script::Ponders(token.clone()));
    let asked = renewing.scene.admin("POST", "/api/licensing/token/renew").json(&json!({})).start();
    renewing.issuer.wait_for(1);
    asked.hang_up();
    renewing.scene.check();
    renewing.issuer.release();
    renewing.scene.gate.log().wait_for(&format!("license.jti={}", jti(&token)));
    renewing.scene.holds(&token);
}

#[test]
fn an_expired_license_can_be_renewed() {
    let issuer = Issuer::playing(Script::Silent);
    let setup = Setup::new().set("renewal.url", format!("{:?}", issuer.url()));
    let ended = setup.vendor.token().with("iat", now() - 9 * DAY).with("exp", now() - DAY).sign();
    let scene = setup.stored(&ended).start();
    assert_eq!(scene.shown()["status"], 5);
    let token = scene.vendor.token().sign();
    issuer.play(Script::Grants(token.clone()));
    scene.renew().is(200);
    scene.holds(&token);
}
