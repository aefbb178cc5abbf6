//! Startup with faulty keys, ports and directories.

use std::net::TcpListener;

use crate::support::program::Place;
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::Vendor;

/// A configuration for [`Place::run`], with `more` lines.
fn config(more: &str) -> String {
    format!("admin.listen = \"\"\n{more}\n")
}

#[test]
fn a_second_gate_on_the_same_directory_exits_2() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let data = scene.gate.dir().join("data");
    let place = Place::new();
    let store =
        format!("server.listen = [\"127.0.0.1:0\"]\nstore.url = \"file:{}\"", data.display());
    let file = place.write("gate.toml", &config(&store));
    let ran = place.run(&["serve", "--config", file.to_str().expect("text")]).exits(2);
    ran.reports(&["locked by another license-gate", data.to_str().expect("text")]);
    scene.holds(&token);
    let newer = scene.vendor.token().sign();
    scene.install(&newer);
    scene.holds(&newer);
}

#[test]
fn the_directory_of_a_killed_gate_can_be_used_again() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    scene.restart().holds(&token);
}

#[test]
fn a_port_in_use_exits_2_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let place = Place::new();
    let file = place.write("gate.toml", &config(&format!("server.listen = [{address:?}]")));
    let ran = place.run(&["serve", "--config", file.to_str().expect("text")]).exits(2);
    ran.reports(&["cannot listen on", &address]);
}

#[test]
fn a_port_another_gate_listens_on_exits_2_and_is_named() {
    let scene = Scene::new();
    let address = scene.gate.address.to_string();
    let place = Place::new();
    let file = place.write("gate.toml", &config(&format!("server.listen = [{address:?}]")));
    let ran = place.run(&["serve", "--config", file.to_str().expect("text")]).exits(2);
    ran.reports(&["cannot listen on", &address]);
    scene.check();
}

#[test]
fn configured_keys_that_are_missing_or_unusable_exit_1_and_are_named() {
    let place = Place::new();
    place.write("empty.json", "{\"keys\":[]}");
    place.write("torn.pem", "-----BEGIN PUBLIC KEY-----\nAAAA");
    for keys in ["missing.json", "empty.json", "torn.pem"] {
        let lines = format!("server.listen = [\"127.0.0.1:0\"]\nlicense.keys = {keys:?}");
        let file = place.write("gate.toml", &config(&lines));
        let ran = place.run(&["serve", "--config", file.to_str().expect("text")]).exits(1);
        ran.reports(&["license.keys", keys, "gate.toml:3"]);
    }
}

#[test]
fn a_store_that_is_a_file_exits_1_and_is_named() {
    let place = Place::new();
    place.write("data", "a file");
    let file = place.write(
        "gate.toml",
        &config("server.listen = [\"127.0.0.1:0\"]\nstore.url = \"file:data\""),
    );
    let ran = place.run(&["serve", "--config", file.to_str().expect("text")]).exits(1);
    ran.reports(&["store.url", "data is not a directory"]);
}

#[test]
fn the_default_keys_may_be_missing() {
    let scene = Setup::new().unset("license.keys").start();
    assert!(scene.gate.log().wait_for("no issuer key is trusted").contains("WARN"));
    scene.ask("GET", "/anything").send().is(200);
}

#[test]
fn of_a_directory_of_keys_the_good_ones_are_used_and_the_faulty_ones_reported() {
    let (jwks, pem) = (Vendor::new(), Vendor::new());
    let weak = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCW9XGBAHtON9W6lY9DNEtUWiHK\n\
                axT24UmHeE55y9wB82grCi73DBTEYwY1lO0cO5LvaHlEVaBZO2Oq77KAl6IoQh+U\n\
                PYdDbXjQAZ+9l4LqMMASbuq1XA/GCvqgESvJJkobAncd3OCd49+jHl/7UvZ1+Wp4\n\
                5Yekun0KuMv7FDd62QIDAQAB\n-----END PUBLIC KEY-----\n";
    let broken = ["torn.json", "empty.json", "garbage.pem", "weak.pem", "private.pem"];
    let scene = Setup::new()
        .file("keys/a.json", jwks.pair().jwks().to_string())
        .file("keys/b.pem", pem.pair().public_pem().expect("PEM"))
        .file("keys/torn.json", "{\"keys\":[{\"kty\":")
        .file("keys/empty.json", "")
        .file("keys/garbage.pem", b"\x00\xff\x00garbage")
        .file("keys/weak.pem", weak)
        .file("keys/private.pem", pem.pair().private_pem().expect("PEM").as_str())
        .file("keys/.hidden", "{")
        .set("license.keys", "\"keys\"")
        .start();
    for token in [jwks.token().sign(), pem.token().sign()] {
        scene.install(&token);
        scene.holds(&token);
    }
    let log = scene.gate.log().all();
    for name in broken {
        let named = log.iter().filter(|line| line.contains(name)).collect::<Vec<_>>();
        assert!(named.len() == 1 && named[0].contains("WARN"), "{name}: {log:#?}");
    }
    assert!(!log.join("\n").contains(".hidden"));
    assert!(log.iter().any(|line| line.contains("weak.pem") && line.contains("1024 bits")));
}

#[test]
fn a_stored_license_stays_in_the_store_while_its_key_is_not_trusted() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let jwks = scene.gate.dir().join("jwks.json");
    let trusted = std::fs::read(&jwks).expect("read");
    std::fs::write(&jwks, Vendor::new().pair().jwks().to_string()).expect("written");
    let scene = scene.restart();
    assert_eq!(scene.shown()["status"], 4);
    assert!(scene.gate.log().wait_for("check license.keys").contains("WARN"));
    assert!(set_aside(&scene).is_empty());
    std::fs::write(&jwks, trusted).expect("written");
    let scene = scene.restart();
    scene.holds(&token);
}

fn set_aside(scene: &Scene) -> Vec<std::path::PathBuf> {
    let data = scene.gate.dir().join("data");
    let entries =
        std::fs::read_dir(data).expect("a directory").map(|entry| entry.expect("one").path());
    entries.filter(|path| path.to_string_lossy().contains("license.jwt.bad-")).collect()
}

#[test]
fn an_upstream_that_is_down_at_startup_is_502_until_it_is_up() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let scene = Setup::new().set("upstream.url", format!("\"http://{address}\"")).start();
    scene.ask("GET", "/").send().is(502);
    scene.admin("GET", "/api/licensing/check").send().is(503);
    let up = TcpListener::bind(address).expect("the port again");
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in up.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\nConnection: close\r\n\r\n{\"isGrafanaAdmin\": true}");
        }
    });
    scene.ask("GET", "/").send().is(200);
    scene.admin("GET", "/api/licensing/check").send().is(200);
}
