//! A flag overrides the environment, which overrides the file, which overrides the default.

use crate::support::program::{Place, Ran};

fn check(place: &Place, flags: &[&str], environment: &[(&str, &str)]) -> Ran {
    let words = [&["check-config", "--print"], flags].concat();
    place.run_with(&words, environment, "").exits(0)
}

#[test]
fn flag_overrides_environment_overrides_file() {
    let place = Place::new();
    place.write("gate.toml", "[upstream]\nurl = 'http://file:1'\n");
    let file = ["--config", "gate.toml"];
    let both = ["--config", "gate.toml", "--upstream", "http://flag:3"];
    let environment = [("LICENSE_GATE__UPSTREAM__URL", "http://environment:2")];

    check(&place, &[], &[]).prints("url = \"http://127.0.0.1:3000\"  # default");
    check(&place, &file, &[]).prints("url = \"http://file:1\"  # gate.toml:2");
    check(&place, &file, &environment)
        .prints("url = \"http://environment:2\"  # LICENSE_GATE__UPSTREAM__URL");
    check(&place, &both, &environment).prints("url = \"http://flag:3\"  # --upstream");
}

#[test]
fn a_configuration_file_is_read_only_if_named() {
    let place = Place::new();
    place.write("license-gate.toml", "garbage");
    place.write("gate.toml", "garbage");
    place.run(&["check-config"]).exits(0);
}

#[test]
fn environment_variables_set_values_of_every_type() {
    let place = Place::new();
    let environment = [
        ("LICENSE_GATE__SERVER__LISTEN", "127.0.0.1:0, http://[::1]:0"),
        ("LICENSE_GATE__SERVER__TRUSTED_PROXIES", "10.1.2.3/8,::1"),
        ("LICENSE_GATE__SERVER__TRUSTED_HEADER", "Forwarded"),
        ("LICENSE_GATE__SERVER__WORKERS", "3"),
        ("LICENSE_GATE__LIMITS__MAX_HEADER_BYTES", "131072"),
        ("LICENSE_GATE__LIMITS__WRITES_PER_MINUTE", "7"),
        ("LICENSE_GATE__SHUTDOWN__DELAY", "90s"),
        ("LICENSE_GATE__AUTH__PUBLIC_CHECK", "true"),
        ("LICENSE_GATE__ADMIN__LISTEN", ""),
        ("LICENSE_GATE__LOG__LEVEL", "debug"),
        ("LICENSE_GATE", "not ours"),
    ];
    check(&place, &[], &environment)
        .prints("listen = [\"127.0.0.1:0\", \"http://[::1]:0\"]")
        .prints("trusted_proxies = [\"10.0.0.0/8\", \"::1/128\"]")
        .prints("trusted_header = \"forwarded\"")
        .prints("workers = 3")
        .prints("max_header_bytes = \"128KiB\"")
        .prints("writes_per_minute = 7")
        .prints("delay = \"1m 30s\"")
        .prints("public_check = true")
        .prints("listen = \"\"")
        .prints("level = \"debug\"");
}

#[test]
fn words_may_have_any_case() {
    let place = Place::new();
    let environment = [
        ("LICENSE_GATE__LOG__LEVEL", "WARN"),
        ("LICENSE_GATE__LOG__FORMAT", "Json"),
        ("LICENSE_GATE__LOG__ACCESS", "FALSE"),
        ("LICENSE_GATE__UPSTREAM__HTTP2", "True"),
        ("LICENSE_GATE__AUTH__MODE", "LOCAL"),
    ];
    check(&place, &[], &environment)
        .prints("level = \"warn\"")
        .prints("format = \"json\"")
        .prints("access = false")
        .prints("http2 = true")
        .prints("mode = \"local\"");
    place.write("gate.toml", "[log]\nlevel = 'Debug'\nformat = 'TEXT'\n");
    check(&place, &["--config", "gate.toml"], &[]).prints("level = \"debug\"");
    check(&place, &["--log-format", "JSON"], &[]).prints("format = \"json\"");
}

#[test]
fn a_misspelled_variable_is_a_warning_with_the_nearest_setting() {
    let place = Place::new();
    let almost = [("LICENSE_GATE_LOG_LEVEL", "debug"), ("LICENSE_GATE__UPSTREAM__ULR", "x")];
    let ran = check(&place, &[], &almost);
    let ran = ran.reports(&[
        "warning",
        "LICENSE_GATE_LOG_LEVEL is not a setting",
        "LICENSE_GATE__LOG__LEVEL",
    ]);
    ran.reports(&["warning", "LICENSE_GATE__UPSTREAM__ULR is no", "LICENSE_GATE__UPSTREAM__URL"])
        .prints("level = \"info\"");

    let others = [
        ("LICENSE_GATE_SERVICE_HOST", "10.0.0.1"),
        ("LICENSE_GATE_SERVICE_PORT", "80"),
        ("LICENSE_GATE_PORT", "tcp://10.0.0.1:80"),
        ("LICENSE_GATE_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("LICENSE_GATE_URL", "http://gate"),
        ("LICENSE_GATE_USER", "ops"),
        ("LICENSE_GATE_PASSWORD", "secret"),
    ];
    let ran = check(&place, &[], &others);
    assert!(!ran.err.contains("is not a setting"), "{}", ran.err);
}

#[test]
fn every_flag_sets_its_key() {
    let place = Place::new();
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "[::1]:0",
        "--upstream",
        "http://up:9",
        "--root-url",
        "https://a/grafana/",
        "--data-dir",
        "kept",
        "--admin-listen",
        "127.0.0.1:0",
        "--workers",
        "2",
        "--log-format",
        "json",
    ];
    check(&place, &flags, &[])
        .prints("listen = [\"127.0.0.1:0\", \"[::1]:0\"]")
        .prints("url = \"http://up:9\"")
        .prints("root_url = \"https://a/grafana/\"")
        .prints("url = \"file:kept\"")
        .prints("listen = \"127.0.0.1:0\"")
        .prints("workers = 2")
        .prints("format = \"json\"");
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let place = Place::new();
    place.write("etc/gate.toml", "[store]\nurl = 'file:kept'\n");
    let file = ["--config", "etc/gate.toml"];
    check(&place, &file, &[]).prints("url = \"file:etc/kept\"");
    let environment = [("LICENSE_GATE__STORE__URL", "file:other")];
    check(&place, &file, &environment).prints("url = \"file:other\"");
}

#[test]
fn the_printed_configuration_has_its_secrets_masked() {
    let place = Place::new();
    let hash = place.run_with(&["hash-password"], &[], "pw\n").exits(0).out;
    let user = format!(
        "[[auth.users]]\nname = 'ops'\npassword_hash = '{}'\npermissions = ['licensing:read']\n",
        hash.trim()
    );
    let file =
        format!("[renewal]\nurl = 'https://a/renew?key=hunter2'\n[auth]\nmode = 'local'\n{user}");
    place.write("gate.toml", &file);
    let ran = check(&place, &["--config", "gate.toml"], &[])
        .prints("url = \"https://a/renew?***\"")
        .prints("password_hash = \"***\"")
        .prints("permissions = [\"licensing:read\"]");
    assert!(!ran.out.contains("hunter2") && !ran.out.contains("argon2"), "{}", ran.out);
    toml::from_str::<toml::Table>(&ran.out).expect("TOML");
}

#[test]
fn each_printed_table_has_its_own_line() {
    let place = Place::new();
    let hash = place.run_with(&["hash-password"], &[], "pw\n").exits(0).out;
    let hash = hash.trim();
    let user = |name: &str| {
        format!("[[auth.users]]\nname = '{name}'\npassword_hash = '{hash}'\npermissions = []\n")
    };
    let rule = |name: &str| format!("[[gate.rules]]\nname = '{name}'\npaths = ['/{name}']\n");
    let (a, b, x, y) = (user("a"), user("b"), rule("x"), rule("y"));
    place.write("gate.toml", &format!("{a}{b}# A comment.\n{x}{y}"));
    let ran = check(&place, &["--config", "gate.toml"], &[]);
    let tables = ran.out.lines().filter(|line| line.starts_with("[["));
    let expected = [
        "[[auth.users]]  # gate.toml:1",
        "[[auth.users]]  # gate.toml:5",
        "[[gate.rules]]  # gate.toml:10",
        "[[gate.rules]]  # gate.toml:13",
    ];
    assert_eq!(tables.collect::<Vec<_>>(), expected, "{}", ran.out);
    // Of an inline array too.
    let rule = |name: &str| format!("{{ name = '{name}', paths = ['/{name}'] }},\n");
    place.write("gate.toml", &format!("gate.rules = [\n{}\n{}]\n", rule("x"), rule("y")));
    let ran = check(&place, &["--config", "gate.toml"], &[]);
    ran.prints("[[gate.rules]]  # gate.toml:2").prints("[[gate.rules]]  # gate.toml:4");
}

#[test]
fn the_printed_configuration_reads_back_unchanged() {
    let place = Place::new();
    let print = |flags: &[&str]| {
        let out = place.run(&[&["check-config", "--print"], flags].concat()).exits(0).out;
        let table = toml::from_str::<toml::Table>(&out).expect("TOML").to_string();
        (out, table)
    };
    let (printed, values) = print(&["--listen", "127.0.0.1:0"]);
    place.write("gate.toml", &printed.replace("keys = \"certs/issuer\"", ""));
    assert_eq!(print(&["--config", "./gate.toml"]).1, {
        values.replace("file:data", "file:./data").replace("copy = \"data", "copy = \"./data")
    });
}

/// The name of the file is part of a comment.
#[test]
fn a_line_break_in_the_name_of_the_file_adds_no_line() {
    let place = Place::new();
    let name = "a\n[license]\nproduct = 'x' #.toml";
    std::fs::write(place.path().join(name), "[log]\nlevel = 'debug'\n").expect("a file");
    let ran = check(&place, &["--config", name], &[]);
    let table: toml::Table = toml::from_str(&ran.out).expect("TOML");
    assert_eq!(table["license"]["product"].as_str(), Some(""), "{}", ran.out);
}

#[test]
fn the_last_line_is_the_verdict() {
    let place = Place::new();
    place.write("good.toml", "[log]\nlevel = 'debug'\n");
    place.write("bad.toml", "[log]\nlevel = 'x'\n[server]\nworkers = -1\nport = 3\n");
    let one = [("LICENSE_GATE_USERS", "x")];
    let two = [("LICENSE_GATE_USERS", "x"), ("LICENSE_GATE_LOG", "x")];
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);
    // Without keys there is always a warning.
    let cases: [Case<'_>; 6] = [
        (&[], &[], 0, "configuration: valid, 1 warning"),
        (&["--config", "good.toml"], &one, 0, "good.toml: valid, 2 warnings"),
        (&["--config", "./good.toml", "--print"], &[], 0, "# ./good.toml: valid, 1 warning"),
        (&["--config", "bad.toml"], &[], 1, "bad.toml: not valid, 3 faults"),
        (
            &["--config", "bad.toml", "--print"],
            &two,
            1,
            "bad.toml: not valid, 3 faults, 2 warnings",
        ),
        (&["--config", "absent.toml"], &one, 1, "absent.toml: not valid, 1 fault, 1 warning"),
    ];
    for (flags, environment, code, verdict) in cases {
        let words = [&["check-config"], flags].concat();
        let ran = place.run_with(&words, environment, "").exits(code);
        assert_eq!(ran.out.lines().last(), Some(verdict), "{ran:#?}");
        let faults = ran.err.lines().filter(|line| !line.contains("warning: ")).count();
        assert_eq!(faults, if code == 0 { 0 } else { faults.max(1) }, "{ran:#?}");

        if !flags.contains(&"--print") {
            for quiet in ["-q", "--quiet"] {
                let words = [&words[..], &[quiet]].concat();
                let ran = place.run_with(&words, environment, "").exits(code);
                assert_eq!((&*ran.out, &*ran.err), ("", ""));
            }
        }
    }
    place.run(&["check-config", "-q", "--print"]).exits(1).reports(&["cannot be used with"]);
}
