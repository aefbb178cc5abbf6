//! Random configurations: `check-config` never panics, each fault is in the file, its verdict agrees with what it prints, and
//! `serve` and a reload agree with the verdict. A failure names its seed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use license_gate::config::{Kind, settings};

use crate::support::authority::Authority;
use crate::support::gate::{Builder, Gate};
use crate::support::origin::Origin;
use crate::support::program::{Place, Ran};
use crate::support::random::Random;
use crate::support::vendor::Vendor;

/// `PROPTEST_CASES` raises this.
const SEEDS: u64 = 60;

/// Values that fit this machine, in place of the manual's examples.
const VALID: &[(&str, &[&str])] = &[
    ("server.listen", &["['127.0.0.1:0']", "['http://[::1]:0', 'unix:client.sock']"]),
    ("server.redirect", &["['127.0.0.1:0']", "[]"]),
    ("server.root_url", &["'https://metrics.example.com/grafana/'"]),
    ("server.acme_dir", &["'.'", "'absent'", "''"]),
    ("server.workers", &["1", "0x2"]),
    ("server.tls.cert_file", &["'tls.pem'"]),
    ("server.tls.key_file", &["'tls.key'"]),
    ("server.tls.client_ca_file", &["'tls.pem'", "''"]),
    ("shutdown.grace_period", &["'1s'"]),
    ("upstream.url", &["'http://127.0.0.1:9'", "'https://localhost:9'", "'unix:up.sock'"]),
    ("upstream.tls.ca_file", &["'tls.pem'"]),
    ("upstream.tls.cert_file", &["'tls.pem'"]),
    ("upstream.tls.key_file", &["'tls.key'"]),
    ("license.keys", &["'jwks.json'", "'keys'"]),
    ("license.jwks_url", &["'http://127.0.0.1:9/jwks.json'", "''"]),
    ("license.file", &["'absent.jwt'"]),
    ("license.revocations", &["'absent.jwt'", "'http://127.0.0.1:9/x'"]),
    ("store.url", &["'file:data'"]),
    ("store.copy", &["'copy'"]),
    ("renewal.url", &["'https://127.0.0.1:9/renew?key=x'"]),
    ("renewal.ca_file", &["'tls.pem'"]),
    ("notify.url", &["'http://u@127.0.0.1:9/'", "''"]),
    ("notify.secret_file", &["'secret'"]),
    ("auth.users", &["[]"]),
    ("gate.rules", &["[]"]),
    ("admin.listen", &["'127.0.0.1:0'", "'unix:admin.sock'", "''"]),
];

/// Settings that need each other.
const COMPANIONS: [&[&str]; 5] = [
    &[
        "server.tls.min_version",
        "server.tls.hsts",
        "server.tls.client_ca_file",
        "server.tls.cert_file",
        "server.tls.key_file",
    ],
    &["upstream.tls.cert_file", "upstream.tls.key_file"],
    &["notify.url", "notify.secret_file"],
    &["server.proxy_protocol", "server.trusted_proxies"],
    &["gate.dry_run", "gate.rules"],
];

/// Each is a fault for most settings.
const ODD: &[&str] = &[
    "''",
    "0",
    "-1",
    "1.5",
    "true",
    "[]",
    "{}",
    "[[1]]",
    "[{ a = 1 }]",
    "{ a = { b = 1 } }",
    "['', 7]",
    "99999999999999999999999999999999999999999999",
    "0xffffffffffffffffffff",
    "9223372036854775807",
    "inf",
    "1979-05-27T07:32:00Z",
    "'unix:'",
    "'::::'",
    "'99999999999999999999d'",
    "'\u{fc}n\u{ef}code \u{1f600}\u{202e}'",
    "\"\\u0000\"",
    "\"a\\nb\"",
    "\"\"\"\na\nb\"\"\"",
    "'http://user:hunter2@a/'",
    "'/dev/null'",
    "'.'",
];

/// Lines that belong into no configuration, or may appear once.
const LINES: &[&str] = &[
    "=",
    "[",
    "[server.tls]",
    "[server]",
    "[gate]",
    "[auth.users]",
    "[gate.rules]",
    "[[server]]",
    "[issuer]",
    "[\"\"]",
    "\"\u{202e}\" = 1",
    "server = 1",
    "'server.listen' = 1",
    "a.b.c.d = 1",
    "x = \"",
    "\0",
    "\u{feff}",
    "# \u{fc}\r",
    "[[gate.rules]]",
    "[[gate.rules]]\nname = 'r'\npaths = ['/a/**']",
    "[[gate.rules]]\nname = 'r'\npaths = ['/a/[b]', 7]\nmethods = ['get']\ngrace = 7",
    "[[gate.rules]]\nname = 's'\npaths = ['/b']\nrequire = 'product:x'\ngrace = '1d'",
    "[[auth.users]]\nname = 'a'",
    "[[auth.users]]\nname = 'a:b'\npassword_hash = 'hunter2'\npermissions = 'all'",
];

/// The files that the settings name.
fn prepare(dir: &Path) {
    let pair = Authority::new().issue("localhost");
    pair.write(dir, "tls");
    fs::create_dir(dir.join("keys")).expect("a directory");
    for place in [dir, &dir.join("keys")] {
        Vendor::new().write_jwks(place);
    }
    fs::write(dir.join("secret"), "0123456789abcdef").expect("written");
}

/// A name with a mistake.
fn misspelled(random: &mut Random, name: &str) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let at = random.below(letters.len());
    match random.below(4) {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, 'x'),
        2 => letters[at] = letters[at].to_ascii_uppercase(),
        _ => letters.swap(at, at.saturating_sub(1)),
    }
    letters.into_iter().collect()
}

/// A configuration: mostly valid settings, in random order, with a few mistakes or none.
fn configuration(random: &mut Random) -> Vec<u8> {
    let all = settings();
    // The defaults are ports that other gates may use, and a path that must exist only if it is set.
    let mut names = vec!["server.listen", "admin.listen", "license.keys"];
    for _ in 0..random.below(14) {
        let setting = &all[random.below(all.len())];
        for name in COMPANIONS.iter().filter(|all| all.contains(&setting.name)).copied().flatten() {
            if !names.contains(name) {
                names.push(name);
            }
        }
        if !names.contains(&setting.name) {
            names.push(setting.name);
        }
    }
    // Half of the configurations are meant to be good.
    let mistakes = if random.once_in(2) { 0 } else { 8 };
    if mistakes > 0 && random.once_in(8) {
        // Twice in one file.
        names.push(names[random.below(names.len())]);
    }
    let mut lines = Vec::new();
    while !names.is_empty() {
        let name = names.swap_remove(random.below(names.len()));
        let setting = all.iter().find(|setting| setting.name == name).expect("a setting");
        let listed = VALID.iter().find(|(key, _)| *key == name);
        let mut value = listed.map_or(setting.example, |(_, values)| random.of(values));
        let mut key = name.to_owned();
        if mistakes > 0 && random.once_in(mistakes) {
            value = random.of(ODD);
        }
        if mistakes > 0 && random.once_in(2 * mistakes) {
            key = misspelled(random, name);
        }
        if setting.kind != Kind::Tables || value != "[]" {
            lines.push(format!("{key} = {value}"));
        }
    }
    let extra = if mistakes > 0 { random.below(3) } else { 0 };
    for _ in 0..extra {
        let line = random.of(LINES).to_owned();
        // Tables are at the end, or what follows belongs to them.
        let at = if random.once_in(2) { lines.len() } else { random.below(lines.len() + 1) };
        lines.insert(at, line);
    }
    let mut bytes = lines.join(random.of(&["\n", "\r\n", "\n\n# \u{fc}\n"])).into_bytes();
    if mistakes > 0 && random.once_in(12) {
        let at = random.below(bytes.len() + 1);
        bytes.insert(at, random.of(&[0xff, 0, 0x1b, b'"', b'\n']));
    }
    bytes
}

/// What `check-config` has found.
struct Verdict {
    /// Without the name of the file.
    faults: Vec<String>,
    is_valid: bool,
}

/// Checks what each run of `check-config` must fulfil.
fn verdict(ran: &Ran, lines: usize, comment: &str) -> Verdict {
    let Ran { code, out, err } = ran;
    assert!(!err.contains("panicked") && !err.contains("hunter2"), "{err}");
    assert!(matches!(code, 0 | 1), "{code}");
    let (mut faults, mut warnings) = (Vec::new(), 0);
    for line in err.lines() {
        let text = line.strip_prefix("license-gate: ").unwrap_or_else(|| panic!("{line:?}"));
        if text.starts_with("warning: ") {
            warnings += 1;
            continue;
        }
        let rest = text.strip_prefix("gate.toml:").unwrap_or_else(|| panic!("{line:?}"));
        let (number, _) = rest.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
        let number: usize = number.parse().unwrap_or_else(|_| panic!("{line:?}"));
        assert!((1..=lines).contains(&number), "{line:?} of {lines} lines");
        faults.push(rest.to_owned());
    }
    let counted = |count: usize, noun: &str| match count {
        0 => String::new(),
        1 => format!(", 1 {noun}"),
        _ => format!(", {count} {noun}s"),
    };
    let verdict = if faults.is_empty() { "valid" } else { "not valid" };
    let counts = counted(faults.len(), "fault") + &counted(warnings, "warning");
    let comment = if faults.is_empty() { comment } else { "" };
    assert_eq!(out.lines().last(), Some(&*format!("{comment}gate.toml: {verdict}{counts}")));
    assert_eq!(*code, i32::from(!faults.is_empty()), "{err}");
    Verdict { is_valid: faults.is_empty(), faults }
}

/// A valid configuration that is printed without secrets is valid, and prints the same values.
fn reads_back(place: &Place, printed: &Ran) {
    let values = |out: &str| toml::from_str::<toml::Table>(out).expect("TOML");
    let before = values(&printed.out);
    if printed.out.contains("***") {
        return;
    }
    place.write("gate.toml", &printed.out);
    let again = place.run(&["check-config", "--config", "gate.toml", "--print"]).exits(0);
    assert_eq!(values(&again.out), before);
}

/// Whether `serve` starts with the configuration.
fn starts(place: &Place) -> Result<(), String> {
    let mut command = place.command(&["serve", "--config", "gate.toml"]);
    let mut gate = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    let lines = BufReader::new(gate.stderr.take().expect("piped")).lines();
    let mut read = Vec::new();
    let listens = lines.map_while(Result::ok).any(|line| {
        read.push(line);
        read.last().is_some_and(|line| line.contains("listening"))
    });
    let _ = gate.kill();
    gate.wait().expect("a child");
    if listens { Ok(()) } else { Err(read.join("\n")) }
}

/// A reload succeeds with a valid configuration, and has no fault that `check-config` does not have.
fn reloads(gate: &Gate, config: &[u8], verdict: &Verdict) {
    let path = gate.dir().join("gate.toml");
    fs::write(&path, config).expect("written");
    let answer = gate.reload_request().send();
    match answer.status {
        200 => {}
        400 => {
            // `check-config` runs in the directory of the file.
            let dir = format!("{}/", gate.dir().display());
            let text = answer.text().replace(&dir, "");
            for line in text.lines().filter_map(|line| line.strip_prefix("gate.toml:")) {
                assert!(
                    verdict.faults.iter().any(|fault| fault == line),
                    "{line}\n{:?}",
                    verdict.faults
                );
            }
            assert!(!verdict.is_valid, "{}", answer.text());
        }
        _ => panic!("{answer:?}"),
    }
}

#[test]
fn check_config_serve_and_reload_agree_about_random_configurations() {
    let place = Place::new();
    prepare(place.path());
    let gate = Builder::before(Origin::vacant()).set("admin.listen", "'127.0.0.1:0'").start();
    prepare(gate.dir());
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PROPTEST_CASES").unwrap_or(SEEDS),
    };
    let mut valid = 0;
    for seed in seeds.clone() {
        let config = configuration(&mut Random(seed));
        fs::write(place.path().join("gate.toml"), &config).expect("written");
        let text = String::from_utf8_lossy(&config);
        let checked = std::panic::catch_unwind(|| {
            // A file that ends without a line break has one more line than breaks.
            let lines = text.matches('\n').count() + 1;
            let ran = place.run(&["check-config", "--config", "gate.toml"]);
            let found = verdict(&ran, lines, "");
            let printed = place.run(&["check-config", "--config", "gate.toml", "--print"]);
            assert_eq!(verdict(&printed, lines, "# ").faults, found.faults);
            reloads(&gate, &config, &found);
            if found.is_valid {
                starts(&place).unwrap_or_else(|log| panic!("serve does not start:\n{log}"));
                reads_back(&place, &printed);
            }
            found.is_valid
        });
        match checked {
            Ok(is_valid) => valid += u64::from(is_valid),
            Err(_) => panic!("SEED={seed}:\n{text}"),
        }
    }
    // Otherwise most of this would not be tested.
    assert!(seeds.end - seeds.start < 10 || valid * 5 > seeds.end, "{valid} of {seeds:?}");
}
