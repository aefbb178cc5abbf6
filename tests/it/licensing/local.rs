//! `auth.mode = "local"`.

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use serde_json::json;

use crate::support::program::Place;
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::ROOT_URL;

/// With the weakest parameters, so that the tests are fast.
fn argon2id(password: &str) -> String {
    let params = Params::new(8, 1, 1, None).expect("parameters");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash =
        argon2.hash_password_with_salt(password.as_bytes(), b"salt of 16 bytes").expect("a hash");
    hash.to_string()
}

fn bcrypt_2y(password: &str) -> String {
    bcrypt::hash(password, 4).expect("a hash").replace("$2b$", "$2y$")
}

fn user(name: &str, hash: &str, permissions: &[&str]) -> String {
    format!("{{ name = {name:?}, password_hash = {hash:?}, permissions = {permissions:?} }}")
}

fn scene() -> Scene {
    let all = ["licensing:read", "licensing:write", "licensing:delete"];
    let users = [
        user("ann", &argon2id("correct: horse"), &all),
        user("bob", &bcrypt_2y("päss"), &["licensing:read"]),
        user("eve", &bcrypt_2y("e"), &[]),
    ];
    let users = format!("[{}]", users.join(", "));
    Setup::new().set("auth.mode", "\"local\"").set("auth.users", users).start()
}

#[test]
fn users_sign_in_with_argon2_and_bcrypt_and_the_dashboard_is_not_called() {
    let scene = scene();
    let token = json!({ "token": scene.vendor.token().sign() });
    let ann = |method| scene.ask(method, "/api/licensing/token").basic("ann", "correct: horse");
    let bob = |method| scene.ask(method, "/api/licensing/token").basic("bob", "päss");
    ann("POST").json(&token).send().is(200);
    assert_eq!(bob("GET").send().is(200).json()["status"], 1);
    assert!(bob("POST").json(&token).send().is(403).text().contains("licensing:write"));
    assert!(bob("DELETE").json(&json!({})).send().is(403).text().contains("licensing:delete"));
    scene.ask("GET", "/api/licensing/check").basic("eve", "e").send().is(403);
    ann("DELETE").json(&json!({ "instance": ROOT_URL })).send().is(202);
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn a_wrong_password_and_an_unknown_name_get_the_same_response() {
    let scene = scene();
    let pairs = [
        ("ann", "wrong"),
        ("ann", ""),
        ("Ann", "correct: horse"),
        ("bob", "correct: horse"),
        ("zoe", "x"),
        ("", ""),
    ];
    for (name, password) in pairs {
        let answer = scene.ask("GET", "/api/licensing/check").basic(name, password).send();
        let answer = answer.fails(401, "password-auth.failed");
        assert_eq!(answer.json()["message"], "Invalid username or password", "{name}");
        assert!(answer.value("www-authenticate").is_some());
    }
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn a_session_cookie_is_ignored() {
    let scene = scene();
    let request = scene.ask("GET", "/api/licensing/check");
    let request = request.field("Cookie", "grafana_session=admin-session");
    request.send().fails(401, "auth.unauthorized");
    let request = scene.ask("GET", "/api/licensing/check").field("Authorization", "Bearer x");
    request.send().fails(401, "auth.service-account");
}

#[test]
fn the_origin_of_writes_is_checked_too() {
    let scene = scene();
    let request = scene.ask("POST", "/api/licensing/token").basic("ann", "correct: horse");
    let request = request.json(&json!({ "token": "x" })).field("Origin", "https://evil.example");
    request.send().fails(403, "auth.origin-not-allowed");
}

#[test]
fn there_are_no_statistics() {
    let scene = scene();
    let request = scene.ask("GET", "/api/licensing/refresh-stats");
    request.send().fails(401, "auth.unauthorized");
    request.basic("bob", "päss").send().fails(404, "licensing.stats.local");
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn failed_sign_ins_are_limited() {
    let users = format!("[{}]", user("bob", &bcrypt_2y("b"), &["licensing:read"]));
    let scene = Setup::new()
        .set("auth.mode", "\"local\"")
        .set("auth.users", users)
        .set("limits.failed_sign_ins_per_minute", 2)
        .start();
    let check = |password| scene.ask("GET", "/api/licensing/check").basic("bob", password).send();
    check("x").is(401);
    check("y").is(401);
    check("b").fails(429, "auth.too-many-failures");
}

#[test]
fn bcrypt_refuses_passwords_that_it_cannot_distinguish() {
    let long = "ä".repeat(36);
    let users = [
        user("bob", &bcrypt_2y(&format!("{long}-and-a-tail")), &["licensing:read"]),
        user("eve", &bcrypt_2y("e"), &["licensing:read"]),
        user("ann", &argon2id(&format!("{long}-and-a-tail")), &["licensing:read"]),
    ];
    let users = format!("[{}]", users.join(", "));
    let scene = Setup::new().set("auth.mode", "\"local\"").set("auth.users", users).start();
    let check = |name, password: &str| {
        scene.ask("GET", "/api/licensing/check").basic(name, password).send()
    };
    for tail in ["-and-a-tail", "-and-another", "x"] {
        check("bob", &format!("{long}{tail}")).fails(401, "password-auth.failed");
    }
    check("bob", &long).is(200);
    for password in ["e\0e", "e\0", "\0"] {
        check("eve", password).fails(401, "password-auth.failed");
    }
    check("eve", "e").is(200);
    check("ann", &format!("{long}-and-a-tail")).is(200);
    check("ann", &format!("{long}-and-another")).is(401);
}

#[test]
fn parallel_guesses_are_limited() {
    let users = format!("[{}]", user("bob", &bcrypt_2y("b"), &["licensing:read"]));
    let scene = Setup::new()
        .set("auth.mode", "\"local\"")
        .set("auth.users", users)
        .set("limits.failed_sign_ins_per_minute", 3)
        .start();
    let check = |password: &str| scene.ask("GET", "/api/licensing/check").basic("bob", password);
    let pending: Vec<_> = (0..20).map(|guess| check(&format!("{guess}")).start()).collect();
    let statuses: Vec<_> = pending.into_iter().map(|pending| pending.answer().status).collect();
    let count = |status| statuses.iter().filter(|other| **other == status).count();
    assert_eq!((count(401), count(429)), (3, 17), "{statuses:?}");
}

#[test]
fn a_hash_made_by_hash_password_signs_in() {
    let made = Place::new().run_with(&["hash-password"], &[], "from the prompt\n").exits(0);
    let users = format!("[{}]", user("cli", made.out.trim(), &["licensing:read"]));
    let scene = Setup::new().set("auth.mode", "\"local\"").set("auth.users", users).start();
    let check = |password| scene.ask("GET", "/api/licensing/check").basic("cli", password).send();
    check("from the prompt").is(200);
    check("from the prompt\n").is(401);
}
