//! Files and addresses in a configuration are checked before the gate serves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::support::program::{Place, Ran};

const PAIR: &str = "[server.tls]\ncert_file = 'cert.pem'\nkey_file = 'key.pem'\n";

/// A certificate and its key, both PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn check(file: &str, others: &[(&str, &str)]) -> Ran {
    let place = Place::new();
    place.write("gate.toml", file);
    for (name, content) in others {
        place.write(name, content);
    }
    place.run(&["check-config", "--config", "gate.toml"])
}

#[test]
fn a_matching_certificate_and_key_are_accepted() {
    let (cert, key) = certificate();
    check(PAIR, &[("cert.pem", &cert), ("key.pem", &key)]).exits(0);
}

#[test]
fn a_certificate_and_a_key_that_do_not_match_are_refused() {
    let ((cert, _), (_, key)) = (certificate(), certificate());
    check(PAIR, &[("cert.pem", &cert), ("key.pem", &key)])
        .exits(1)
        .reports(&["gate.toml:3: server.tls.key_file:", "key.pem does not belong"]);
}

#[test]
fn certificate_and_key_are_both_checked() {
    check(PAIR, &[("key.pem", "nothing")])
        .exits(1)
        .reports(&["gate.toml:2: server.tls.cert_file:", "cert.pem cannot be read", "No such file"])
        .reports(&["gate.toml:3: server.tls.key_file:", "key.pem contains no private key"]);
    let (_, key) = certificate();
    check(PAIR, &[("cert.pem", ""), ("key.pem", &key)])
        .exits(1)
        .reports(&["server.tls.cert_file:", "contains no certificate"]);
}

#[test]
fn configured_issuer_keys_must_exist() {
    check("[license]\nkeys = 'keys'\n", &[]).exits(1).reports(&[
        "gate.toml:2: license.keys:",
        "keys",
        "No such file",
    ]);
    check("[license]\nkeys = 'keys'\n", &[("keys", "garbage")])
        .exits(1)
        .reports(&["gate.toml:2: license.keys:"]);
    check("[license]\nkeys = 'keys'\n", &[("keys/a.json", "garbage")])
        .exits(1)
        .reports(&["gate.toml:2: license.keys:", "a.json"]);
}

#[test]
fn trust_anchors_and_the_store_are_checked() {
    check("[renewal]\nca_file = 'ca.pem'\n", &[])
        .exits(1)
        .reports(&["gate.toml:2: renewal.ca_file:", "No such file"]);
    check("[store]\nurl = 'file:data'\n", &[("data", "a file")])
        .exits(1)
        .reports(&["gate.toml:2: store.url:", "is not a directory"]);
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // RFC 5737: no machine has an address in 192.0.2.0/24.
    check("[server]\nlisten = ['192.0.2.1:80']\n", &[])
        .exits(1)
        .reports(&["gate.toml:2: server.listen: cannot listen on 192.0.2.1 on this machine"]);
}

#[test]
fn faults_of_values_and_of_files_are_reported_together() {
    check("[license]\nkeys = 'keys'\n[log]\nlevel = 'x'\n", &[])
        .exits(1)
        .reports(&["gate.toml:2: license.keys:"])
        .reports(&["gate.toml:4: log.level:"]);
}

#[test]
fn a_default_root_url_where_the_gate_does_not_listen_is_a_warning() {
    let listen = |addresses: &str| format!("[server]\nlisten = [{addresses}]\n");
    let warning = "no address of server.listen has the port of its default";
    for addresses in ["'127.0.0.1:8082'", "'127.0.0.1:8082', '[::1]:8083'"] {
        check(&listen(addresses), &[]).exits(0).reports(&[warning]);
    }
    let own = format!("{}root_url = 'http://localhost:9000/'\n", listen("'127.0.0.1:8082'"));
    for good in [
        listen("'127.0.0.1:8082', '127.0.0.1:8080'"),
        listen("'127.0.0.1:0'"),
        listen("'unix:gate.sock'"),
        // As behind a port mapping.
        own,
    ] {
        let ran = check(&good, &[]).exits(0);
        assert!(!ran.err.contains(warning), "{good}: {}", ran.err);
    }
}

#[test]
fn unwise_settings_are_warnings() {
    check("[renewal]\nurl = 'http://issuer/renew'\n", &[])
        .exits(0)
        .reports(&["warning: renewal.url is plain http"]);
    check("", &[]).exits(0).reports(&["warning: license.keys: certs/issuer does not exist"]);
    check("[auth]\nmode = 'local'\n", &[]).exits(0).reports(&["warning:", "nobody can sign in"]);
    let published = "[auth]\nmode = 'local'\n[[auth.users]]\nname = 'a'\npermissions = []\npassword_hash = \
        '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$U7nGLj/uh1yZKtvIc1F5RqNgy4bPqHQuh2mNMYvQDGg'\n";
    check(published, &[])
        .exits(0)
        .reports(&["warning:", "the password hash of the manual's example"]);
    check("[upstream.tls]\nserver_name = 'dash.example'\n", &[])
        .exits(0)
        .reports(&["warning: upstream.tls is set", "not https://"]);
    let plain = "[license]\njwks_url = 'http://a/'\nrevocations = 'http://a/'\n\
        [notify]\nurl = 'http://a/'\nsecret_file = 'secret'\n";
    check(plain, &[("secret", "hush, hush and hush")])
        .exits(0)
        .reports(&["warning: license.jwks_url is plain http"])
        .reports(&["warning: license.revocations is plain http"])
        .reports(&["warning: notify.url is plain http"]);
    check("[notify]\nsecret_file = 'secret'\n", &[("secret", "hush, hush and hush")])
        .exits(0)
        .reports(&["warning: notify.secret_file is set, but notify.url is not"]);
}

#[test]
fn a_missing_watched_file_is_a_warning() {
    let both = "[license]\nfile = 'license.jwt'\nrevocations = 'revoked.jwt'\n";
    check(both, &[])
        .exits(0)
        .reports(&["warning: license.file: license.jwt does not exist"])
        .reports(&["warning: license.revocations: revoked.jwt does not exist"]);
    let ran = check(both, &[("license.jwt", ""), ("revoked.jwt", "")]).exits(0);
    assert!(!ran.err.contains("does not exist; a gate reads it"), "{ran:?}");
}

#[test]
fn a_webhook_secret_must_exist_and_be_usable() {
    let notify = "[notify]\nurl = 'https://a/'\nsecret_file = 'secret'\n";
    for (content, message) in
        [("hush\n", "fewer than 16 bytes"), (&"x".repeat(5000), "more than 4096 bytes")]
    {
        check(notify, &[("secret", content)])
            .exits(1)
            .reports(&["gate.toml:3: notify.secret_file: cannot be used", message]);
    }
}

#[test]
fn an_invalid_proxy_variable_is_a_fault_only_where_it_is_used() {
    let place = Place::new();
    place.write("gate.toml", "[renewal]\nurl = 'https://issuer.example/'\n");
    place.write("off.toml", "[server]\nlisten = ['127.0.0.1:0']\n");
    for command in ["check-config", "serve"] {
        for value in ["socks5://user:hunter2@p:1", "http://user:hunter2@p:port"] {
            let environment = [("HTTPS_PROXY", value)];
            let ran = place
                .run_with(&[command, "--config", "gate.toml"], &environment, "")
                .exits(1)
                .reports(&["HTTPS_PROXY", "write http://HOST:PORT"]);
            assert!(!ran.err.contains("hunter2"), "{ran:?}");
        }
    }
    let environment = [("HTTPS_PROXY", "socks5://p:1")];
    place.run_with(&["check-config", "--config", "off.toml"], &environment, "").exits(0);
}

#[test]
fn a_file_of_the_wrong_kind_is_reported_with_a_remedy() {
    let (cert, key) = certificate();
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let der = String::from_utf8_lossy(&[0x30, 0x03, 0x02, 0x01, 0x03]).into_owned();
    let cases: [(&str, &str, &[&str]); 4] = [
        (&key, &key, &["cert.pem contains no certificate", "but a private key"]),
        (&cert, &cert, &["key.pem contains no private key", "but a certificate"]),
        (&cert, &encrypted, &["an encrypted private key", "openssl pkey -in FILE -out"]),
        (&cert, &der, &["key.pem contains no private key"]),
    ];
    for (cert, key, parts) in cases {
        check(PAIR, &[("cert.pem", cert), ("key.pem", key)]).exits(1).reports(parts);
    }
    let keys = |content: &str| check("[license]\nkeys = 'keys'\n", &[("keys", content)]).exits(1);
    keys(&key).reports(&["contains a private key", "openssl pkey -in FILE -pubout"]);
    keys(&encrypted).reports(&["but an encrypted private key", "openssl pkey", "-pubout"]);
    keys("eyJhbGciOiJFUzI1NiJ9.e30.AA\n").reports(&["but a license token", "JWKS"]);
    check("[server]\nroot_url = 'https://b\u{fc}cher.example/'\n", &[])
        .exits(1)
        .reports(&["server.root_url", "write xn--bcher-kva.example"]);
}

#[test]
fn a_pipe_or_a_directory_instead_of_a_file_is_reported_without_waiting() {
    let (cert, key) = certificate();
    let pair = "cert_file = 'cert.pem'\nkey_file = 'key.pem'\n";
    let cases = [
        ("license.file", "[license]\nfile = 'it'\n".to_owned()),
        ("license.revocations", "[license]\nrevocations = 'it'\n".to_owned()),
        ("license.keys", "[license]\nkeys = 'it'\n".to_owned()),
        ("server.tls.cert_file", "[server.tls]\ncert_file = 'it'\nkey_file = 'key.pem'\n".to_owned()),
        ("server.tls.key_file", "[server.tls]\ncert_file = 'cert.pem'\nkey_file = 'it'\n".to_owned()),
        ("server.tls.client_ca_file", format!("[server.tls]\n{pair}client_ca_file = 'it'\n")),
        ("upstream.tls.ca_file", "[upstream]\nurl = 'https://a'\ntls.ca_file = 'it'\n".to_owned()),
        ("upstream.tls.key_file", "[upstream]\nurl = 'https://a'\n[upstream.tls]\nca_file = 'cert.pem'\ncert_file = 'cert.pem'\nkey_file = 'it'\n".to_owned()),
        ("renewal.ca_file", "[renewal]\nca_file = 'it'\n".to_owned()),
        ("notify.secret_file", "[notify]\nurl = 'http://a/'\nsecret_file = 'it'\n".to_owned()),
        ("store.url", "[store]\nurl = 'file:it'\n".to_owned()),
    ];
    for is_pipe in [true, false] {
        for (key_name, file) in &cases {
            // `license.keys` may be a directory.
            if !is_pipe && matches!(*key_name, "store.url" | "license.keys") {
                continue;
            }
            let place = Place::new();
            place.write("gate.toml", file);
            place.write("cert.pem", &cert);
            place.write("key.pem", &key);
            let it = place.path().join("it");
            match is_pipe {
                true => {
                    assert!(Command::new("mkfifo").arg(&it).status().expect("mkfifo").success())
                }
                false => fs::create_dir(&it).expect("made"),
            }
            let mut bounded = Command::new("timeout");
            bounded.args([
                "20",
                env!("CARGO_BIN_EXE_license-gate"),
                "check-config",
                "--config",
                "gate.toml",
            ]);
            let ran = bounded.current_dir(place.path()).env_clear().output().expect("ended");
            Ran::of(ran).exits(1).reports(&[key_name, "it"]);
        }
    }
}

#[test]
fn a_secret_that_every_user_can_read_is_a_warning() {
    let (cert, key) = certificate();
    let hash = "$2b$04$abcdefghijklmnopqrstuuMYyvLXQGdMiNlHS1bvYRQJ0X2bIDkqi";
    let url = "[store]\nurl = 'postgres://u:hush@127.0.0.1/d?sslmode=disable'\n";
    let users = format!(
        "[auth]\nmode = 'local'\n[[auth.users]]\nname = 'a'\npassword_hash = '{hash}'\npermissions = ['licensing:read']\n"
    );
    let cases = [
        ("key.pem", "server.tls.key_file", PAIR.to_owned()),
        ("key.pem", "upstream.tls.key_file", "[upstream]\nurl = 'https://a'\n[upstream.tls]\nca_file = 'cert.pem'\ncert_file = 'cert.pem'\nkey_file = 'key.pem'\n".to_owned()),
        ("secret", "notify.secret_file", "[notify]\nurl = 'http://a/'\nsecret_file = 'secret'\n".to_owned()),
        ("gate.toml", "warning: the configuration file gate.toml contains a secret", url.to_owned()),
        ("gate.toml", "warning: the configuration file gate.toml contains a secret", users),
    ];
    for (name, what, file) in cases {
        let place = Place::new();
        place.write("gate.toml", &file);
        place.write("cert.pem", &cert);
        place.write("key.pem", &key);
        place.write("secret", "0123456789abcdef");
        for (mode, dir, is_warned) in [
            (0o604, 0o711, true),
            (0o644, 0o755, true),
            // Other users cannot enter the directory.
            (0o644, 0o700, false),
            (0o644, 0o750, false),
            (0o640, 0o755, false),
            (0o600, 0o755, false),
        ] {
            fs::set_permissions(place.path(), fs::Permissions::from_mode(dir)).expect("set");
            for other in ["gate.toml", "key.pem", "secret"] {
                let mode = if other == name { mode } else { 0o600 };
                let path = place.path().join(other);
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
            }
            let ran = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
            let line = ran.err.lines().find(|line| line.contains("every user can read"));
            assert_eq!(line.is_some(), is_warned, "{name} {mode:o} {dir:o}: {ran:?}");
            if is_warned {
                let mode = format!("(mode {mode:04o})");
                let advice = ["chgrp GROUP", "chmod 640", "defaultMode: 0440", "fsGroup"];
                ran.reports(&[&["warning: ", what, name, &mode], &advice[..]].concat());
            }
        }
    }
    // A configuration without a secret may be readable by all; so may a certificate.
    let ran = check("[server]\nroot_url = 'http://a/'\n", &[]).exits(0);
    assert!(!ran.err.contains("every user"), "{ran:?}");
}

#[test]
fn the_mode_of_a_link_target_counts() {
    let (cert, key) = certificate();
    let place = Place::new();
    place.write("gate.toml", PAIR);
    place.write("cert.pem", &cert);
    let real = place.write("..data/key.pem", &key);
    symlink("..data/key.pem", place.path().join("key.pem")).expect("linked");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("set");
    let ran = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
    assert!(!ran.err.contains("every user"), "{ran:?}");
}
