//! An invalid configuration is refused, and every fault is reported with its line.

use crate::support::program::Place;

/// A file, and parts of the expected line: its number, the key, the message.
const FILES: &[(&str, &[&str])] = &[
    ("[server]\nlistn = []", &["gate.toml:2: server.listn: unknown key", "server.listen"]),
    ("[sever]\nlisten = []", &["gate.toml:2: sever.listen: unknown key", "server.listen"]),
    ("[foo]", &["gate.toml:1: foo: unknown key"]),
    ("server = 1", &["gate.toml:1: server: is a section", "[server]"]),
    ("[server.listen]", &["gate.toml:1: server.listen: takes a list, not a table"]),
    ("\"server.workers\" = 1", &["gate.toml:1: \"server.workers\": unknown key"]),
    (
        "[server]\nlisten = \"127.0.0.1:1\"",
        &["gate.toml:2: server.listen: takes a list", "brackets"],
    ),
    ("[server]\nlisten = [\n'127.0.0.1:1',\n7]", &["gate.toml:4: server.listen: takes a string"]),
    ("[server]\nlisten = []", &["gate.toml:2: server.listen: names no address"]),
    ("[server]\nlisten = ['localhost']", &["server.listen: \"localhost\" is not an address"]),
    ("[server]\nlisten = ['unix:']", &["gate.toml:2: server.listen: has no path"]),
    ("[server]\nlisten = ['systemd:']", &["server.listen: \"\" is not a socket name"]),
    ("[server]\nlisten = ['1.1.1.1:65536']", &["server.listen:", "is not an address"]),
    (
        "[server]\nlisten = ['unix:/no/such/dir/x']",
        &["server.listen: /no/such/dir is not a directory"],
    ),
    ("[server]\nlisten = ['unix:/']", &["server.listen: / is not a socket"]),
    ("[server]\nlisten = ['unix:/x', 'unix:/x']", &["unix:/x is given twice"]),
    ("[server]\nlisten = ['systemd:x', 'systemd:x']", &["systemd:x is given twice"]),
    ("[server]\nlisten = ['https://unix:/x']", &["https://unix:/x needs server.tls.cert_file"]),
    (
        "server.listen = ['unix:/x']\nupstream.url = 'unix:/x'",
        &["upstream.url: is the gate itself"],
    ),
    ("[server]\nlisten = ['[::]:1', '[::]:1']", &["server.listen: [::]:1 is given twice"]),
    ("[server]\nlisten = ['https://[::]:1']", &["server.listen:", "needs server.tls.cert_file"]),
    (
        "[server]\nworkers = '2'",
        &["gate.toml:2: server.workers: takes a whole number, not a string"],
    ),
    ("[server]\nworkers = -1", &["server.workers: -1 is not between 0 and 1024"]),
    ("[server]\nworkers = 1.5", &["server.workers:", "not a fraction"]),
    ("[server]\nroot_url = 'metrics'", &["gate.toml:2: server.root_url: is not a root URL"]),
    ("[server]\nroot_url = 'http://a/?b'", &["server.root_url:"]),
    ("[server]\nroot_url = 'http://u:hunter2@a/'", &["server.root_url:", "no user name"]),
    ("[server]\nroot_url = 'http://a/%41'", &["server.root_url: takes a path of letters"]),
    ("[server]\ntrusted_proxies = ['10.0.0.0/33']", &["server.trusted_proxies:", "not a network"]),
    (
        "[server]\ntrusted_header = 'x-real-ip'",
        &[
            "gate.toml:2: server.trusted_header: \"x-real-ip\" is not one of x-forwarded-for, forwarded",
        ],
    ),
    ("[server]\nproxy_protocol = true", &["gate.toml:2: server.proxy_protocol: needs"]),
    ("[server]\nproxy_protocol = 'yes'", &["server.proxy_protocol: takes true or false"]),
    ("[server.tls]\ncert_file = 'c'", &["gate.toml:2: server.tls.key_file: is missing"]),
    ("[server.tls]\nkey_file = 'k'", &["gate.toml:2: server.tls.cert_file: is missing"]),
    ("[server.tls]\nclient_ca_file = 'c'", &["gate.toml:2: server.tls.cert_file: is missing"]),
    // A table that does not turn on what it names.
    ("[server.tls]", &["gate.toml:1: server.tls: needs cert_file and key_file", "plain HTTP"]),
    ("[server]\nworkers = 1\ntls = {}", &["gate.toml:3: server.tls: needs cert_file"]),
    ("[server]\nlisten = ['https://[::1]:0']\n[server.tls]", &["gate.toml:3: server.tls: needs"]),
    ("\n[server.tls]\nmin_version = '1.3'", &["gate.toml:3: server.tls: needs cert_file"]),
    ("[server.tls]\nhsts = '1d'", &["gate.toml:2: server.tls: needs cert_file"]),
    ("[server.tls]\nkey_file = ''", &["gate.toml:2: server.tls: needs cert_file"]),
    (
        "[notify]\nurl = 'https://a/'\n[server.tls]",
        &["gate.toml:3: server.tls: needs cert_file and key_file"],
    ),
    ("[[server.tls]]", &["gate.toml:1: server.tls: is a section", "[server.tls]"]),
    ("[server.tsl]", &["gate.toml:1: server.tsl: unknown key; the nearest is server.tls"]),
    ("[issuer]", &["gate.toml:1: issuer: unknown key"]),
    ("[gate.rules]", &["gate.toml:1: gate.rules: takes tables: write [[gate.rules]]"]),
    ("[gate.rules]\nname = 'x'", &["gate.toml:1: gate.rules: takes tables: write [[gate.rules]]"]),
    ("[auth.users]\nname = 'x'", &["gate.toml:1: auth.users: takes tables: write [[auth.users]]"]),
    ("[[gate.rules]]", &["gate.toml:1: gate.rules: a rule has no name"]),
    ("[timeouts]\nidle = 75", &["gate.toml:2: timeouts.idle: a duration needs a unit", "\"75s\""]),
    ("[timeouts]\nidle = '75'", &["timeouts.idle: a duration needs a unit"]),
    ("[timeouts]\nidle = '7 parsecs'", &["timeouts.idle: \"7 parsecs\" is not a duration"]),
    ("[timeouts]\nidle = '0s'", &["timeouts.idle: must be longer than 0s"]),
    ("[limits]\nmax_header_bytes = '64kb'", &["limits.max_header_bytes: \"64kb\" is not a size"]),
    (
        "[limits]\nmax_header_bytes = 1",
        &["limits.max_header_bytes: 1 is not between 8KiB and 16MiB"],
    ),
    ("[limits]\nmax_connections = 0", &["limits.max_connections: 0 is not between 1"]),
    ("[upstream]\nurl = ''", &["upstream.url: is not a URL"]),
    ("[upstream]\nurl = 'https://a/b'", &["upstream.url: takes no path"]),
    ("[upstream]\nurl = 'https://a:65536'", &["upstream.url:"]),
    ("[upstream]\nurl = 'unix:'", &["gate.toml:2: upstream.url: has no path"]),
    ("[upstream]\nurl = 'http://a/b'", &["upstream.url: takes no path"]),
    ("[upstream]\nurl = 'http://u:hunter2@a'", &["upstream.url: takes no user name"]),
    ("[upstream]\nurl = 'http://localhost:8080'", &["upstream.url: is the gate itself"]),
    ("[upstream]\nhttp2 = 1", &["gate.toml:2: upstream.http2"]),
    (
        "[upstream.tls]\nca_file = 'c'",
        &["gate.toml:2: upstream.tls.ca_file: cannot be used", "No such file"],
    ),
    ("[upstream.tls]\ncert_file = 'c'", &["gate.toml:2: upstream.tls.key_file: is missing"]),
    ("[upstream.tls]\nkey_file = 'c'", &["gate.toml:2: upstream.tls.cert_file: is missing"]),
    ("[upstream.tls]\nserver_name = 'a b'", &["upstream.tls.server_name: \"a b\" is neither"]),
    ("[license]\njwks_url = 'jwks.json'", &["gate.toml:2: license.jwks_url: is not a URL"]),
    ("[license]\njwks_url = 'https://u:hunter2@a/'", &["license.jwks_url: takes no user name"]),
    ("[license]\nfile = 1", &["license.file: "]),
    (
        "[license]\nkeys = 'https://u:hunter2@a/jwks.json'",
        &["gate.toml:2: license.keys: takes a path, not a URL: license.jwks_url takes one"],
    ),
    ("[license]\nfile = 'http://u:hunter2@a/'", &["license.file: takes a path, not a URL"]),
    ("[admin]\nlisten = 'http://u:hunter2@a/'", &["admin.listen: \"http://***@a/\" is not"]),
    ("[license]\nrevocations = 'ftp://a/x'", &["gate.toml:2: license.revocations: is not a URL"]),
    ("[license]\nrevocations = []", &["license.revocations: takes a string"]),
    ("[license]\nkeys = ''", &["license.keys: is empty"]),
    ("[license]\nissuers = ['']", &["license.issuers: is empty"]),
    ("[store]\nurl = 'data'", &["store.url: is neither file:DIR nor postgres://"]),
    ("[store]\nurl = 'postgres://u:hunter2@h/d?ssl=1'", &["store.url:", "support"]),
    ("[store]\nhistory = -1", &["gate.toml:2: store.history: -1 is not between 0 and 1000"]),
    ("[store]\nhistory = 'all'", &["store.history: takes a whole number"]),
    ("[store]\naudit_max_bytes = '1KiB'", &["store.audit_max_bytes: 1KiB is not between 64KiB"]),
    ("[store]\naudit_max_bytes = '1 parsec'", &["store.audit_max_bytes:", "is not a size"]),
    ("[notify]\nurl = 'a'", &["gate.toml:2: notify.url: is not a URL"]),
    ("[notify]\nurl = 'https://a/'", &["gate.toml:2: notify.secret_file: is missing"]),
    (
        "[notify]\nurl = 'https://a/'\nsecret_file = 'none'",
        &["gate.toml:3: notify.secret_file: cannot be used", "No such file"],
    ),
    ("[renewal]\nurl = 'ftp://a'", &["renewal.url: is not a URL"]),
    ("[auth]\nmode = 'ldap'", &["auth.mode: \"ldap\" is not one of dashboard, local"]),
    ("[auth]\npublic_check = 'yes'", &["auth.public_check: takes true or false"]),
    ("[auth]\nidentity_path = 'api'", &["auth.identity_path:", "is not a path"]),
    (
        "[auth]\nidentity_path = \"/a\\r\\nX: y\"",
        &["auth.identity_path: contains a control character"],
    ),
    ("[auth]\nadmin_field = 'isAdmin'", &["auth.admin_field:", "is not a JSON pointer"]),
    ("[auth]\nsession_cookie = 'a=b'", &["auth.session_cookie:", "cannot be the name of a cookie"]),
    ("[auth]\nusers = 1", &["auth.users: takes tables"]),
    ("[auth]\nusers = [1]", &["auth.users: takes tables"]),
    ("[[auth.users]]", &["gate.toml:1: auth.users: a user has no name"]),
    ("[[auth.users]]\nname = 'a:b'", &["gate.toml:2: auth.users.name:", "contain a colon"]),
    ("[[auth.users]]\nname = 'api_key'", &["auth.users.name:", "reserved"]),
    ("[[auth.users]]\npassword_hash = 'hunter2'", &["gate.toml:2: auth.users.password_hash:"]),
    (
        "[[auth.users]]\npermissions = ['x']",
        &["auth.users.permissions: \"x\" is not one of licensing:read"],
    ),
    (
        "[[auth.users]]\npasword_hash = 'x'",
        &["auth.users.pasword_hash:", "auth.users.password_hash"],
    ),
    ("[[gate.rules]]\nname = 'x'", &["gate.toml:1: gate.rules: a rule has no paths"]),
    ("[admin]\nlisten = 'http://127.0.0.1:1'", &["admin.listen:", "is not an address"]),
    ("[admin]\nlisten = '127.0.0.1:8080'", &["admin.listen: 127.0.0.1:8080 is given twice"]),
    ("[log]\nlevel = 'loud'", &["log.level: \"loud\" is not a log level: use error, warn"]),
    ("[log]\nlevel = 'h2=trace'", &["log.level: \"h2\" is not a module of the gate"]),
    ("[log]\nlevel = 'license_gate::stor=warn'", &["log.level:", "the nearest is store"]),
    ("[log]\nformat = 'xml'", &["log.format: \"xml\" is not one of text, json"]),
    ("[log]\nlevel = 2020-01-01", &["log.level: takes a string, not a date"]),
    ("[log]\nlevel = 'info'\nlevel = 'info'", &["gate.toml:3: not TOML"]),
    ("[log]\nlevel = \"hunter2", &["gate.toml:2: not TOML"]),
    ("\n[log\n", &["gate.toml:2: not TOML"]),
];

#[test]
fn every_fault_of_a_file_has_its_line() {
    let place = Place::new();
    for (file, fragments) in FILES {
        place.write("gate.toml", file);
        let ran = place.run(&["check-config", "--config", "gate.toml"]);
        assert_eq!(ran.code, 1, "{file}\n{ran:#?}");
        assert!(ran.out.starts_with("gate.toml: not valid, "), "{file}\n{ran:#?}");
        assert!(!ran.err.contains("hunter2"), "{file}\n{}", ran.err);
        ran.reports(fragments);
    }
}

#[test]
fn a_gate_does_not_start_with_a_bad_file() {
    let place = Place::new();
    place.write("gate.toml", "[server]\nworkers = 'x'\n[log]\nlevel = 1\n");
    place
        .run(&["serve", "--config", "gate.toml"])
        .exits(1)
        .reports(&["gate.toml:2: server.workers:"])
        .reports(&["gate.toml:4: log.level:"]);
}

#[test]
fn all_faults_of_all_sources_are_reported_at_once_in_order() {
    let place = Place::new();
    place.write("etc/gate.toml", "[log]\nlevel = 'x'\n[server]\nlistn = []\nworkers = 'y'\n");
    let words = ["check-config", "--config", "etc/gate.toml", "--workers", "-1", "--upstream", "u"];
    let environment = [("LICENSE_GATE__LOG__LEVEL", "z"), ("LICENSE_GATE__LOG__LEVL", "info")];
    let ran = place.run_with(&words, &environment, "").exits(1);
    let places: Vec<&str> = ran
        .err
        .lines()
        .map(|line| line.trim_start_matches("license-gate: ").split(": ").next().unwrap_or(""))
        .collect();
    let expected = [
        "warning",
        "etc/gate.toml:2",
        "etc/gate.toml:4",
        "etc/gate.toml:5",
        "LICENSE_GATE__LOG__LEVEL",
        "--upstream",
        "--workers",
    ];
    assert_eq!(places, expected, "{}", ran.err);
    ran.reports(&["LICENSE_GATE__LOG__LEVL is not a setting", "LICENSE_GATE__LOG__LEVEL"]);
}

#[test]
fn two_users_with_one_name_are_a_fault() {
    let place = Place::new();
    let hash = place.run_with(&["hash-password"], &[], "pw\n").exits(0).out;
    let user = format!(
        "[[auth.users]]\nname = 'ops'\npassword_hash = '{}'\npermissions = []\n",
        hash.trim()
    );
    place.write("gate.toml", &format!("[auth]\nmode = 'local'\n{user}{user}"));
    place
        .run(&["check-config", "--config", "gate.toml"])
        .exits(1)
        .reports(&["auth.users: there are two users \"ops\""]);
}

#[test]
fn a_configuration_file_that_is_missing_or_not_text_is_an_error() {
    let place = Place::new();
    for command in ["serve", "check-config"] {
        place
            .run(&[command, "--config", "none.toml"])
            .exits(1)
            .reports(&["none.toml: cannot be read", "No such file"]);
    }
    std::fs::write(place.path().join("bin.toml"), b"a = 1\nb = \"\xff\"\n").expect("written");
    place
        .run(&["check-config", "--config", "bin.toml"])
        .exits(1)
        .reports(&["bin.toml:2: is not UTF-8"]);
    // This file is endless.
    place
        .run(&["check-config", "--config", "/dev/zero"])
        .exits(1)
        .reports(&["/dev/zero: is larger than 1 MiB"]);
}

/// A variable of a template that is not set leaves an empty value.
#[test]
fn a_table_that_turns_nothing_on_is_a_warning() {
    let place = Place::new();
    place.write("ca.pem", &rcgen::generate_simple_self_signed([]).expect("made").cert.pem());
    let cases = [
        ("[server.tls]\ncert_file = ''\nkey_file = ''", "server.tls.cert_file is empty"),
        ("[upstream.tls]", "upstream.tls is set, but not used"),
        ("[notify]", "[notify] is empty"),
        ("[renewal]", "[renewal] is empty"),
        ("[renewal]\nca_file = 'ca.pem'", "renewal.ca_file is set, but not used"),
        ("[gate]", "[gate] is empty"),
        ("[auth]\nmode = 'local'", "nobody can sign in"),
    ];
    for (file, warning) in cases {
        place.write("gate.toml", file);
        let ran = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
        ran.reports(&["warning: ", warning]);
    }
    // The other tables are there for their defaults.
    place.write("gate.toml", "[server]\n[timeouts]\n[limits]\n[shutdown]\n[upstream]\n[license]\n[store]\n[auth]\n[admin]\n[log]\n");
    let ran = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
    assert_eq!(ran.out, "gate.toml: valid, 1 warning\n", "{}", ran.err);

    // Variables of an image, for gates with and without TLS.
    let words = ["check-config"];
    place.run_with(&words, &[("LICENSE_GATE__SERVER__TLS__MIN_VERSION", "1.3")], "").exits(0);

    // What a variable gives is not missing.
    place.write("gate.toml", "[renewal]\n[notify]\n");
    place.write("secret", "hush, hush and hush");
    let variables = [
        ("LICENSE_GATE__RENEWAL__URL", "https://issuer.example/renew"),
        ("LICENSE_GATE__NOTIFY__URL", "https://hook.example/"),
        ("LICENSE_GATE__NOTIFY__SECRET_FILE", "secret"),
    ];
    let words = ["check-config", "--config", "gate.toml"];
    let ran = place.run_with(&words, &variables, "").exits(0);
    assert!(!ran.err.contains("is empty"), "{}", ran.err);
}

#[test]
fn empty_values_turn_settings_off() {
    let place = Place::new();
    let file = "[server]\nproxy_protocol = false\n[server.tls]\ncert_file = ''\nkey_file = ''\n\
        client_ca_file = ''\n[upstream]\nhttp2 = false\n[license]\njwks_url = ''\nfile = ''\nrevocations = ''\n\
        [gate]\nrules = []\n";
    place.write("gate.toml", file);
    place.run(&["check-config", "--config", "gate.toml"]).exits(0);
}
