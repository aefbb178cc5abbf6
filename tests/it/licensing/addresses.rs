//! Host names with two addresses, one of them dead.

use std::fs;
use std::net::SocketAddr;

use serde_json::json;

use crate::support::gate::Builder;
use crate::support::issuer::{Issuer, Script, answer};
use crate::support::origin::Origin;
use crate::support::receiver::{Receiver, write_secret};
use crate::support::scene::{Setup, jti};
use crate::support::two::{Dead, TWO};
use crate::support::vendor::Vendor;
use crate::support::wire::Wire;

/// `setting` with the IP address replaced by a name with two addresses, the other of which is dead.
fn by_name(setting: &str, address: SocketAddr) -> (String, Dead) {
    let named = setting.replace(&address.ip().to_string(), TWO);
    assert!(named.contains(TWO), "{setting}");
    (named, Dead::beside(address.port()))
}

#[test]
fn a_dead_address_fails_neither_forwarding_nor_the_gates_own_calls() {
    let vendor = Vendor::new();
    let keys = Issuer::playing(Script::Says(answer("200 OK", &vendor.pair().jwks().to_string())));
    let renewed = vendor.token().sign();
    let renewals = Issuer::playing(Script::Grants(renewed.clone()));
    let receiver = Receiver::new();
    let first = vendor.token().sign();
    let setup = Setup::trusting(vendor).unset("license.keys");
    write_secret(setup.dir());
    let dashboard = setup.dashboard.address;
    let [notify, secret] = receiver.settings();
    let (dashboard, _dead_dashboard) = by_name(&format!("\"http://{dashboard}\""), dashboard);
    let (jwks, _dead_keys) = by_name(&format!("\"http://{}/\"", keys.address()), keys.address());
    let (renewal, _dead_issuer) = by_name(&format!("{:?}", renewals.url()), renewals.address());
    let (notify, _dead_receiver) = by_name(&notify.1, receiver.address());
    let scene = setup
        .set("upstream.url", dashboard)
        .set("license.jwks_url", jwks)
        .set("renewal.url", renewal)
        .set("notify.url", notify)
        .set(secret.0, secret.1)
        .start();
    scene.gate.log().wait_for("the issuer's keys were fetched\" keys=1");
    scene.admin("GET", "/panels").send().is(200);
    scene.install(&first);
    receiver.until(&jti(&first));
    scene.renew().is(200);
    scene.holds(&renewed);
}

#[test]
fn the_address_that_worked_is_tried_first_afterwards() {
    let origin = Origin::start();
    let (url, dead) = by_name(&format!("\"http://{}\"", origin.address), origin.address);
    let gate = Builder::before(origin.address).set("upstream.url", url).start();
    let ask = |number: u32| {
        let mut client = Wire::connect(gate.address);
        client.get(&format!("/{number}"));
        client
    };
    let mut client = ask(1);
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    drop((call, dead));
    // The first address of the name works now, but is not used.
    let revived =
        Origin::start_at(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], origin.address.port())));
    let mut client = ask(2);
    origin.accept().serve("still here");
    assert_eq!(client.answer().text(), "still here");
    drop(revived);
}

#[test]
fn a_refusal_for_an_unknown_key_names_the_setting_of_unreachable_keys() {
    let vendor = Vendor::new();
    let silent = Issuer::playing(Script::Silent);
    let url = format!("http://{}/jwks.json?secret=s3cret", silent.address());
    let token = vendor.token().sign();
    // With and without other keys.
    for setup in [Setup::new(), Setup::new().unset("license.keys")] {
        let scene = setup.set("license.jwks_url", format!("{url:?}")).start();
        let refused = scene.post(&token).is(400).json();
        let code = refused["messageId"].as_str().expect("a code");
        assert!(code.ends_with(".key-unknown") || code.ends_with(".keys-missing"), "{refused}");
        let message = refused["message"].as_str().expect("a message");
        assert!(message.contains("license.jwks_url"), "{message}");
        assert!(message.contains("did not answer"), "{message}");
        assert!(!message.contains("license.keys`") && !message.contains("s3cret"), "{message}");
        let report = scene.admin("POST", "/api/licensing/token/validate");
        let report = report.json(&json!({ "token": token })).send().is(200).json();
        assert_eq!(report["checks"][2]["message"], message, "{report}");
    }
}

#[test]
fn a_refused_rollback_names_the_setting_of_unreachable_keys() {
    let issuer = Issuer::playing(Script::HangsUp);
    let url = format!("\"http://{}/jwks.json\"", issuer.address());
    let scene = Setup::new().set("license.jwks_url", url).start();
    let (first, second) = (scene.vendor.token().sign(), scene.vendor.token().sign());
    scene.install(&first);
    scene.install(&second);
    let other_keys = Vendor::new().pair().jwks().to_string();
    fs::write(scene.gate.dir().join("jwks.json"), other_keys).expect("written");
    let scene = scene.restart();
    let asked = scene.admin("POST", "/api/licensing/token/rollback");
    let refused = asked.json(&json!({ "jti": jti(&first) })).send().is(400).json();
    assert_eq!(refused["messageId"], "licensing.token.key-unknown");
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains("license.jwks_url"), "{message}");
    assert!(!message.contains("license.keys`"), "{message}");
}
