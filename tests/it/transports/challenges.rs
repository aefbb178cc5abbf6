//! `/.well-known/acme-challenge/NAME` from the webroot of an ACME client.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::dir;
use crate::support::gate::{Builder, Gate};
use crate::support::http::request;
use crate::support::origin::Origin;
use crate::support::wire::Wire;

/// A gate with the webroot `acme` in its directory, which does not exist, and the directory of its challenges.
fn stage() -> (Gate, PathBuf) {
    stage_with(|gate| gate)
}

fn stage_with(change: impl FnOnce(Builder) -> Builder) -> (Gate, PathBuf) {
    let gate = Builder::before(Origin::vacant()).set("server.redirect", "['127.0.0.1:0']");
    let gate = gate.set("server.root_url", "'https://a.example/base/'").in_dir(dir());
    let gate = change(gate.set("server.acme_dir", "'acme'")).start();
    let challenges = gate.dir().join("acme/.well-known/acme-challenge");
    (gate, challenges)
}

fn path(name: &str) -> String {
    format!("/.well-known/acme-challenge/{name}")
}

fn status(gate: &Gate, name: &str) -> u16 {
    request(gate.redirect(), "GET", &path(name)).send().status
}

fn file(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs::write(dir.join(name), content).expect("a file");
}

#[test]
fn a_challenge_is_served_as_certbot_writes_it() {
    let (gate, challenges) = stage();
    assert_eq!(status(&gate, "token"), 404, "the webroot does not exist");
    fs::create_dir_all(&challenges).expect("directories");
    assert_eq!(status(&gate, "token"), 404);
    let name = "eNZk4VbVYB-1Fjm_ZqW0sHj7x2xC5mTnQ8cJ3aUoPds";
    file(&challenges, name, format!("{name}.thumbprint"));
    let answer = request(gate.redirect(), "GET", &path(name)).send().is(200);
    assert_eq!(answer.text(), format!("{name}.thumbprint"));
    for (field, value) in
        [("content-type", "text/plain"), ("cache-control", "no-store"), ("content-length", "54")]
    {
        assert_eq!(answer.value(field), Some(value), "{field}");
    }
    let mut client = Wire::connect(gate.redirect());
    client.send(format!("HEAD {}?x HTTP/1.1\r\nHost: a\r\n\r\n", path(name)));
    let head = client.answer_to("HEAD");
    assert_eq!((head.status(), &*head.field("content-length"), &*head.text()), (200, "54", ""));
    let refused = request(gate.redirect(), "POST", &path(name)).send().fails(405, "acme.method");
    assert_eq!(refused.value("allow"), Some("GET, HEAD"));
    // Over, as certbot cleans up.
    fs::remove_file(challenges.join(name)).expect("removed");
    assert_eq!(status(&gate, name), 404);
    // Only where it redirects; other paths are redirected, also those beside the challenges.
    file(&challenges, "a", "a");
    assert_eq!(request(gate.address, "GET", &path("a")).send().status, 502);
    for other in [
        "/.well-known/acme-challenge",
        "/.well-known//acme-challenge/a",
        "/base/.well-known/acme-challenge/a",
        "/.well-known/x",
    ] {
        assert_eq!(request(gate.redirect(), "GET", other).send().status, 308, "{other}");
    }
}

#[test]
fn nothing_else_on_the_machine_is_served() {
    let (gate, challenges) = stage();
    fs::create_dir_all(challenges.join("directory")).expect("directories");
    file(gate.dir(), "secret", "secret");
    file(&challenges, "a.txt", "a");
    file(&challenges, ".hidden", "a");
    file(&challenges, "a%41", "a");
    file(&challenges, "large", vec![b'a'; 64 * 1024 + 1]);
    file(&challenges, "just", vec![b'a'; 64 * 1024]);
    symlink(gate.dir().join("secret"), challenges.join("absolute")).expect("a link");
    symlink("../../../secret", challenges.join("relative")).expect("a link");
    symlink("just", challenges.join("within")).expect("a link");
    symlink("/dev/zero", challenges.join("zero")).expect("a link");
    let made = Command::new("mkfifo").arg(challenges.join("pipe")).status().expect("mkfifo");
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(challenges.join("socket")).expect("bound");
    for name in [
        "",
        "a.txt",
        ".hidden",
        "a%41",
        "%61",
        ".",
        "..",
        "../../../secret",
        "..%2f..%2f..%2fsecret",
        "..%5csecret",
        "directory",
        "directory/",
        "a/b",
        "just/",
        "//just",
        "large",
        "absolute",
        "relative",
        "within",
        "zero",
        "pipe",
        "socket",
        "just%00",
        "just;x",
        "j\u{fc}st",
        "just ",
    ] {
        let target = path(name).replace(' ', "%20");
        let mut client = Wire::connect(gate.redirect());
        client.get(&target);
        let answer = client.answer();
        assert_eq!(answer.status(), 404, "{name:?} {answer:?}");
        assert_eq!(answer.text(), r#"{"message":"Not found"}"#, "{name:?}");
    }
    assert_eq!(status(&gate, &"x".repeat(255)), 404);
    assert_eq!(status(&gate, &"x".repeat(256)), 404);
    assert_eq!(request(gate.redirect(), "GET", &path("just")).send().is(200).body.len(), 64 * 1024);
    // Links in place of the directories are not followed either.
    let real = gate.dir().join("elsewhere");
    fs::rename(&challenges, &real).expect("renamed");
    symlink(&real, &challenges).expect("a link");
    assert_eq!(status(&gate, "just"), 404);
    fs::remove_file(&challenges).expect("removed");
    fs::rename(&real, &challenges).expect("renamed");
    assert_eq!(status(&gate, "just"), 200);
    // The webroot itself may be one.
    fs::rename(gate.dir().join("acme"), gate.dir().join("real")).expect("renamed");
    symlink("real", gate.dir().join("acme")).expect("a link");
    assert_eq!(status(&gate, "just"), 200);
}

#[test]
fn a_file_without_permission_is_500_and_logged_until_it_can_be_read() {
    // Root, which tests may run as, reads every file unless it lacks the capability.
    let (gate, challenges) = stage_with(|gate| {
        gate.through(&["setpriv", "--bounding-set=-all", "--inh-caps=-all"])
            .set("admin.listen", "'127.0.0.1:0'")
    });
    fs::create_dir_all(&challenges).expect("directories");
    file(&challenges, "a", "a");
    let set = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(challenges.join("a"), mode).expect("set");
    };
    set(0o000);
    request(gate.redirect(), "GET", &path("a")).send().fails(500, "acme.unreadable");
    let line = gate.log().wait_for("acme.unreadable");
    assert!(line.contains("Permission denied"), "{line}");
    // A redirect that works does not end the failure, and a file that works does.
    assert_eq!(request(gate.redirect(), "GET", "/").send().status, 308);
    assert_eq!(gate.log().count("request.recovered"), 0);
    set(0o644);
    assert_eq!(status(&gate, "a"), 200);
    assert!(gate.log().wait_for("request.recovered").contains("acme.unreadable"));
    // It is no failure of forwarding, which has alerts of its own.
    let counted = |handler| {
        format!(
            "license_gate_http_requests_total{{handler=\"{handler}\",method=\"GET\",code=\"500\"}}"
        )
    };
    assert_eq!(gate.metric(&counted("redirect")), "1");
    let metrics = request(gate.admin(), "GET", "/metrics").send().is(200);
    assert!(!metrics.text().contains(&counted("gate")), "{}", metrics.text());
}

#[test]
fn many_validations_at_once_are_all_answered() {
    let (gate, challenges) = stage();
    fs::create_dir_all(&challenges).expect("directories");
    file(&challenges, "a", "key authorization");
    let get = request(gate.redirect(), "GET", &path("a"));
    let pending: Vec<_> = (0..100).map(|_| get.start()).collect();
    for answer in pending {
        assert_eq!(answer.answer().is(200).text(), "key authorization");
    }
}
