//! The issuer's keys: changed files, `license.jwks_url`, rotation with overlap, lost keys.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::http;
use crate::support::issuer::{Issuer, Script, answer};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::Vendor;

const UNKNOWN: &str = "licensing.token.key-unknown";

/// A JWKS with the keys of `vendors`.
fn jwks(vendors: &[&Vendor]) -> String {
    let keys = vendors
        .iter()
        .flat_map(|vendor| vendor.pair().jwks()["keys"].as_array().expect("keys").clone());
    json!({ "keys": keys.collect::<Vec<Value>>() }).to_string()
}

fn published(vendors: &[&Vendor]) -> Script {
    Script::Says(answer("200 OK", &jwks(vendors)))
}

fn url(issuer: &Issuer) -> String {
    format!("{:?}", format!("http://{}/jwks.json", issuer.address()))
}

/// A gate with `license.jwks_url` and without `license.keys`.
fn fetching(vendor: Vendor, issuer: &Issuer) -> Setup {
    Setup::trusting(vendor).unset("license.keys").set("license.jwks_url", url(issuer))
}

fn refused(scene: &Scene, token: &str) -> Value {
    scene.post(token).is(400).json()["messageId"].clone()
}

#[test]
fn fetched_keys_are_trusted_and_stored_for_a_start_without_the_issuer() {
    let vendor = Vendor::new();
    let token = vendor.token().sign();
    let issuer = Issuer::playing(published(&[&vendor]));
    let scene = fetching(vendor, &issuer).start();
    scene.install(&token);
    scene.gate.log().wait_for("the issuer's keys were fetched\" keys=1");
    scene.holds(&token);
    let scene = scene.restart_after(|| issuer.play(Script::HangsUp));
    scene.holds(&token);
    scene.gate.log().wait_for("license.jwks_url could not be fetched");
    let next = scene.vendor.token().sign();
    scene.install(&next);
    scene.holds(&next);
}

#[test]
fn unknown_keys_cause_one_early_fetch() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let issuer = Issuer::playing(published(&[&old]));
    let first = old.token().sign();
    let overlap = published(&[&old, &new]);
    let scene = fetching(old, &issuer).start();
    scene.gate.log().wait_for("the issuer's keys were fetched");
    scene.install(&first);
    let before = issuer.connections();

    issuer.play(overlap);
    let second = new.token().sign();
    scene.install(&second);
    scene.gate.log().wait_for("the issuer's keys were fetched\" keys=2");
    scene.holds(&second);
    for _ in 0..20 {
        assert_eq!(refused(&scene, &Vendor::new().token().sign()), UNKNOWN);
    }
    let third = scene.vendor.token().sign();
    scene.install(&third);
    assert_eq!(issuer.connections() - before, 1, "one early fetch for all of them");
}

#[test]
fn concurrent_tokens_of_unknown_keys_share_one_fetch() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let issuer = Issuer::playing(published(&[&old]));
    let scene = fetching(old, &issuer).start();
    scene.gate.log().wait_for("the issuer's keys were fetched");
    let before = issuer.connections();
    issuer.play(published(&[&new]));
    std::thread::scope(|scope| {
        let post = |_| scope.spawn(|| scene.post(&new.token().sign()).is(200));
        let posting: Vec<_> = (0..8).map(post).collect();
        posting.into_iter().for_each(|posting| drop(posting.join().expect("200")));
    });
    assert_eq!(issuer.connections() - before, 1);
}

#[test]
fn a_mounted_license_with_a_new_key_is_used_once_the_key_is_fetched() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let issuer = Issuer::playing(published(&[&old]));
    let overlap = published(&[&old, &new]);
    let scene = fetching(old, &issuer).set("license.file", "\"mounted\"").start();
    scene.gate.log().wait_for("the issuer's keys were fetched");
    issuer.play(overlap);
    let token = new.token().sign();
    fs::write(scene.gate.dir().join("mounted"), &token).expect("written");
    scene.gate.log().wait_for(&format!("license.jti={} source=\"file\"", jti(&token)));
    assert_eq!(scene.check(), "true");
}

#[test]
fn a_renewed_token_with_a_new_key_is_installed() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let keys = Issuer::playing(published(&[&old]));
    let renewed = new.token().sign();
    let renewals = Issuer::playing(Script::Grants(renewed.clone()));
    let (first, overlap) = (old.token().sign(), published(&[&old, &new]));
    let setup = fetching(old, &keys).set("renewal.url", format!("{:?}", renewals.url()));
    let scene = setup.start();
    scene.install(&first);
    keys.play(overlap);
    scene.renew().is(200);
    scene.holds(&renewed);
}

#[test]
fn answers_without_keys_change_nothing_and_are_logged_once() {
    let vendor = Vendor::new();
    let token = vendor.token().sign();
    let issuer = Issuer::playing(published(&[&vendor]));
    let mut scene = fetching(vendor, &issuer).start();
    scene.install(&token);
    for (answer, reason) in [
        (answer("200 OK", "<html>Sign in</html>"), "JWKS"),
        (answer("200 OK", "{\"keys\":[]}"), "no public key"),
        (answer("200 OK", &"a".repeat(3 << 20)), "1048576 bytes"),
        (answer("500 Internal Server Error", "{}"), "500"),
        (answer("302 Found", ""), "302"),
    ] {
        scene = scene.restart_after(|| issuer.play(Script::Says(answer)));
        let failed = "license.jwks_url could not be fetched";
        let line = scene.gate.log().wait_for(failed);
        assert!(line.contains(reason), "{line}");
        scene.install(&scene.vendor.token().sign());
        assert_eq!(refused(&scene, &Vendor::new().token().sign()), UNKNOWN);
        assert_eq!(scene.gate.log().count(failed), 1, "{reason}");
    }
}

#[test]
fn a_changed_key_file_takes_effect_and_a_damaged_one_removes_no_keys() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let (first, second) = (old.token().sign(), new.token().sign());
    let (both, only_new) = (jwks(&[&old, &new]), jwks(&[&new]));
    let scene = Setup::trusting(old).start();
    let write = |content: &str| write(scene.gate.dir(), content);
    scene.install(&first);
    assert_eq!(refused(&scene, &second), UNKNOWN);
    write(&both);
    scene.gate.log().wait_for("the issuer's keys were read again\" keys=2");
    scene.install(&second);

    let stay = "the previous ones stay in use";
    for (times, broken) in
        ["", "{\"keys\":", &both[..both.len() / 2], "{\"keys\":[]}", "-----BEGIN PUBLIC KEY-----\n"]
            .into_iter()
            .enumerate()
    {
        write(broken);
        scene.gate.log().wait_for_another(stay, times + 1);
        assert_eq!(scene.check(), "true", "{broken}");
    }
    fs::remove_file(scene.gate.dir().join("jwks.json")).expect("removed");
    scene.gate.log().wait_for_another(stay, 6);
    scene.install(&scene.vendor.token().sign());

    write(&only_new);
    scene.gate.log().wait_for("the issuer's keys were read again\" keys=1");
    scene.install(&new.token().sign());
    assert_eq!(refused(&scene, &scene.vendor.token().sign()), UNKNOWN);
}

fn write(dir: &Path, content: &str) {
    // Written beside the file and renamed, as most tools do.
    fs::write(dir.join("jwks.next"), content).expect("written");
    fs::rename(dir.join("jwks.next"), dir.join("jwks.json")).expect("renamed");
}

/// Waits of the monitor and the fetch.
const LOOPS: usize = 2;
const HOUR: u64 = 3600;

/// A gate that fetches the keys of `issuer` once a minute, with a license by `vendor` for ten days.
fn looking_each_minute(vendor: Vendor, issuer: &Issuer) -> Timed {
    let line = format!("license.jwks_url = {}", url(issuer));
    issuer.play(each_minute(&[&vendor]));
    let keys = "license.keys = \"other/jwks.json\"";
    let gate = Timed::of(vendor, &[keys, &line], |dir, _| {
        fs::create_dir(dir.join("other")).expect("made");
        Vendor::new().write_jwks(&dir.join("other"));
    });
    gate.pass(NOW, LOOPS);
    gate.post(&gate.token().sign()).is(200);
    gate
}

fn each_minute(vendors: &[&Vendor]) -> Script {
    let answer = answer("200 OK", &jwks(vendors));
    Script::Says(answer.replacen("\r\n", "\r\nCache-Control: max-age=60\r\n", 1))
}

#[test]
fn a_license_without_its_key_stays_valid_for_an_hour() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = looking_each_minute(Vendor::new(), &issuer);
    issuer.play(each_minute(&[&Vendor::new()]));
    gate.pass(NOW + 60, LOOPS);
    gate.at(NOW + 60, 1);
    let next = gate.token().sign();
    assert_eq!(
        gate.post(&next).is(400).json()["messageId"],
        UNKNOWN,
        "no new token with the lost key"
    );
    gate.pass(NOW + HOUR, LOOPS);
    gate.at(NOW + HOUR, 1);
    gate.pass(NOW + HOUR + 60, LOOPS);
    gate.at(NOW + HOUR + 60, 3);
    assert_eq!(gate.shown()["lid"], "L-1", "it is still shown");
}

#[test]
fn a_key_that_returns_within_the_hour_makes_no_difference() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = looking_each_minute(Vendor::new(), &issuer);
    issuer.play(each_minute(&[&Vendor::new()]));
    gate.pass(NOW + 60, LOOPS);
    issuer.play(each_minute(&[&gate.vendor]));
    gate.pass(NOW + 120, LOOPS);
    gate.pass(NOW + 2 * HOUR, LOOPS);
    gate.at(NOW + 2 * HOUR, 1);
    // A second loss starts a new hour; the key may also return later.
    issuer.play(each_minute(&[&Vendor::new()]));
    gate.pass(NOW + 3 * HOUR, LOOPS);
    gate.at(NOW + 4 * HOUR - 1, 1);
    gate.pass(NOW + 4 * HOUR, LOOPS);
    gate.at(NOW + 4 * HOUR, 3);
    issuer.play(each_minute(&[&gate.vendor]));
    gate.pass(NOW + 5 * HOUR, LOOPS);
    gate.at(NOW + 5 * HOUR, 1);
}

#[test]
fn after_a_restart_only_the_present_keys_are_trusted() {
    let scene = Setup::new().start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let other = Vendor::new();
    let dir = scene.gate.dir().to_owned();
    let scene = scene.restart_after(|| write(&dir, &jwks(&[&other])));
    assert_eq!(scene.check(), "false");
    assert_eq!(scene.shown()["status"], 4, "a license that cannot be verified is not shown");
    let reason = "a license is stored, but it is not used: no trusted key has the id";
    let none = scene.gate.log().wait_for("event=license.none");
    assert!(none.contains(reason), "{none}");
    let start = scene.gate.log().wait_for("license: ");
    assert!(start.contains(reason), "{start}");
    let answer = scene.admin("GET", "/api/licensing/token").send().is(200);
    let warning = answer.value("license-gate-warning").unwrap_or_default().to_owned();
    assert!(warning.starts_with(reason), "{warning}");
    assert_eq!(scene.on_disk(), Some(token.clone()), "the stored license is not lost");
    write(&dir, &jwks(&[&scene.vendor]));
    let verifies = scene.gate.log().wait_for("a stored license verifies now");
    assert!(verifies.contains("event=license.key_trusted"), "{verifies}");
    scene.holds(&token);
    let answer = scene.admin("GET", "/api/licensing/token").send().is(200);
    assert_eq!(answer.value("license-gate-warning"), None);
}

/// The facts of `/readyz?verbose` about the license and its key.
fn ready(scene: &Scene) -> String {
    let text = http::request(scene.gate.admin(), "GET", "/readyz?verbose").send().is(200);
    let about = |line: &&str| line.starts_with("[i] license");
    text.text().lines().filter(about).collect::<Vec<_>>().join("\n")
}

fn listening() -> Setup {
    Setup::new().set("admin.listen", "\"127.0.0.1:0\"")
}

#[test]
fn a_lost_key_is_seen_by_probes_metrics_and_the_api_until_it_returns() {
    let scene = listening().start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let metric = || scene.gate.metric("license_gate_license_key_lost");
    let warning = || {
        let answer = scene.admin("GET", "/api/licensing/token").send().is(200);
        answer.value("license-gate-warning").map(str::to_owned)
    };
    assert_eq!((metric(), warning()), ("0".to_owned(), None));
    assert!(!ready(&scene).contains("license key"));
    write(scene.gate.dir(), &jwks(&[&Vendor::new()]));
    scene.gate.log().wait_for("event=license.key_lost");
    assert_eq!(scene.check(), "true", "for one more hour");
    assert_eq!(metric(), "1");
    let lost = "the key of the license is no longer trusted, and the license becomes invalid at ";
    let seen = warning().unwrap_or_default();
    assert!(seen.starts_with(lost) && seen.contains(": no trusted key has the id"), "{seen}");
    let seen = ready(&scene);
    assert!(seen.contains(&format!("[i] license key: not trusted, {lost}")), "{seen}");
    write(scene.gate.dir(), &jwks(&[&Vendor::new(), &scene.vendor]));
    let line = scene.gate.log().wait_for("event=license.key_trusted");
    assert!(line.contains("L-1"), "{line}");
    assert_eq!((metric(), warning()), ("0".to_owned(), None));
    assert!(!ready(&scene).contains("license key"));
}

#[test]
fn a_stored_or_mounted_token_that_is_not_used_is_never_called_none() {
    let vendor = Vendor::new();
    let token = vendor.token().sign();
    let mounted = |content: &str| {
        let setup = listening().set("license.file", "\"mounted\"");
        setup.file("mounted", content)
    };
    let cases = [
        (listening().stored(&token), "a license is stored, but it is not used: ", "key-unknown"),
        (listening().stored("no token"), "a license is stored, but it is not used: ", "malformed"),
        (mounted(&token), "license.file has a token, but it is not used: ", "key-unknown"),
        (mounted("no token"), "license.file has a token, but it is not used: ", "malformed"),
        (
            listening().set("license.file", "\"missing\""),
            "license.file cannot be read (entity not found): ",
            "unreadable",
        ),
    ];
    for (setup, reason, code) in cases {
        let scene = setup.start();
        let none = scene.gate.log().wait_for("event=license.none");
        assert!(none.contains(reason), "{none}");
        let seen = ready(&scene);
        assert!(seen.starts_with(&format!("[i] license: not found, {reason}")), "{seen}");
        let series = format!("license_gate_license_not_valid_info{{reason=\"{code}\"}}");
        assert_eq!(scene.gate.metric(&series), "1");
        let page = scene.admin("GET", "/api/licensing/").send().is(200);
        let page = page.text();
        assert!(!page.contains("No license") && page.contains("Not valid"), "{page}");
    }
    let scene = listening().start();
    assert_eq!(ready(&scene), "[i] license: not found, there is none");
    scene.gate.log().wait_for("event=license.none");
}

#[test]
fn a_deleted_key_is_not_trusted_because_another_file_is_faulty() {
    let (gone, stays) = (Vendor::new(), Vendor::new());
    let setup = Setup::trusting(stays)
        .set("license.keys", "\"keys\"")
        .file("keys/README.txt", "These are the keys of the issuer.");
    let setup = setup.file("keys/gone.json", jwks(&[&gone]));
    let kept = jwks(&[&setup.vendor]);
    let scene = setup.file("keys/stays.json", kept).start();
    let (one, other) = (gone.token().sign(), scene.vendor.token().sign());
    scene.install(&one);
    scene.install(&other);
    fs::remove_file(scene.gate.dir().join("keys/gone.json")).expect("removed");
    scene.gate.log().wait_for("the issuer's keys were read again\" keys=1");
    assert_eq!(refused(&scene, &gone.token().sign()), UNKNOWN);
    scene.install(&scene.vendor.token().sign());
}

#[test]
fn the_loss_of_a_key_is_logged_once_for_a_license_that_file_and_store_share() {
    let vendor = Vendor::new();
    let [mounted, stored] = [(); 2].map(|()| vendor.token().sign());
    let setup = Setup::trusting(vendor).set("license.file", "\"mounted\"");
    let scene = setup.file("mounted", &mounted).stored(&stored).start();
    assert_eq!(scene.check(), "true");
    let other = Vendor::new();
    write(scene.gate.dir(), &jwks(&[&other]));
    scene.gate.log().wait_for("event=license.key_lost");
    // A later line, so that a second one about the loss would be there by now.
    write(scene.gate.dir(), &jwks(&[&other, &scene.vendor]));
    scene.gate.log().wait_for("the issuer's keys were read again\" keys=2");
    assert_eq!(scene.gate.log().count("event=license.key_lost"), 1);
    assert_eq!(scene.check(), "true");
}
