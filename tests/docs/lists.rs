//! Lists of events, error codes, metrics, fields, flags and exit codes: those of the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use license_gate::cli;
use license_gate::clock::Clock;
use license_gate::license::{Algorithm, KeyPair};
use license_gate::telemetry::access::Flag;
use license_gate::telemetry::events::{self, EVENTS, LogEvent};
use serde_json::json;
use tracing::Level;

use crate::document::{Document, root, rows};
use crate::source::{Found, Logged, Name};

fn operating() -> &'static Document {
    Document::of("src/manual/operating.md").unwrap()
}

/// The events that are not written at a call of a macro, for which `telemetry` has tests.
const WITHOUT_A_MACRO: [&str; 2] = [events::LIBRARY, events::LINES_DROPPED];

#[test]
fn the_manual_has_every_event_of_the_log() {
    let mut table = String::from("| event | level | meaning | what to do |\n|---|---|---|---|\n");
    for event in EVENTS {
        let levels: Vec<_> = event.levels.iter().map(|level| level.as_str()).collect();
        table += &format!(
            "| `{}` | {} | {} | {} |\n",
            event.name,
            levels.join(", "),
            event.meaning,
            event.action
        );
    }
    operating().has_generated("events", &table);
}

#[test]
fn every_line_of_the_log_agrees_with_the_table_of_events() {
    let lines = Found::in_sources().lines;
    assert!(lines.len() > 100, "{lines:#?}");
    let faults = disagreements(EVENTS, &lines);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// What `lines` and `events` do not agree on.
fn disagreements(events: &[LogEvent], lines: &[Logged]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut logged: BTreeMap<&str, Vec<&Logged>> = BTreeMap::new();
    for line in lines {
        let Logged { at, level, event, .. } = line;
        match event {
            _ if level == "EVENT" => {
                faults.push(format!("{at}: use the macro of a level, not event!"));
            }
            Name::Literal(name) => {
                logged.entry(name).or_default().push(line);
                match events.iter().find(|event| event.name == name) {
                    None => faults.push(format!("{at}: {name} is not in telemetry/events.rs")),
                    Some(event) if !event.levels.iter().any(|known| known.as_str() == level) => {
                        faults.push(format!("{at}: {name} has no level {level} in the table"));
                    }
                    Some(_) => {}
                }
            }
            Name::Other => faults.push(format!("{at}: the value of `event` must be a literal")),
            Name::Missing if matches!(&**level, "WARN" | "ERROR") => {
                faults.push(format!("{at}: a line of level {level} needs an `event`"));
            }
            Name::Missing => {}
        }
    }
    for event in events.iter().filter(|event| !WITHOUT_A_MACRO.contains(&event.name)) {
        let of = logged.remove(event.name).unwrap_or_default();
        for level in event.levels.iter().map(Level::as_str) {
            if !of.iter().any(|line| line.level == level) {
                faults.push(format!("no line has the event {} at level {level}", event.name));
            }
        }
        // One file may log variants of one event. The same name in another file with other words is another meaning.
        let file = |line: &Logged| line.at.split(':').next().map(str::to_owned);
        if let Some(other) =
            of.iter().find(|line| file(line) != file(of[0]) && line.message != of[0].message)
        {
            faults.push(format!(
                "{} has two meanings: {:?} at {}, {:?} at {}",
                event.name, of[0].message, of[0].at, other.message, other.at
            ));
        }
    }
    for two in events.windows(2).filter(|two| two[0].name >= two[1].name) {
        faults.push(format!("{} stands before {} in the table", two[0].name, two[1].name));
    }
    faults
}

#[test]
fn disagreements_of_log_and_table_are_found() {
    let event =
        |name, levels| LogEvent { name, levels, meaning: "It is.", action: "Nothing is needed." };
    let line = |at: &str, level: &str, event: Name, message: &str| Logged {
        at: at.to_owned(),
        level: level.to_owned(),
        event,
        message: message.to_owned(),
    };
    let named = |name: &str| Name::Literal(name.to_owned());
    let table = [event("a.b", &[Level::WARN]), event("c.d", &[Level::INFO, Level::WARN])];
    let good = [
        line("x.rs:1", "WARN", named("a.b"), "m"),
        line("y.rs:1", "WARN", named("a.b"), "m"),
        line("x.rs:2", "INFO", named("c.d"), "m"),
        line("x.rs:3", "WARN", named("c.d"), "n"),
        line("x.rs:4", "INFO", Name::Missing, "m"),
    ];
    assert_eq!(disagreements(&table, &good), [""; 0]);
    let cases = [
        (
            line("z.rs:1", "WARN", Name::Missing, "m"),
            "z.rs:1: a line of level WARN needs an `event`",
        ),
        (
            line("z.rs:1", "ERROR", Name::Missing, "m"),
            "z.rs:1: a line of level ERROR needs an `event`",
        ),
        (
            line("z.rs:1", "WARN", Name::Other, "m"),
            "z.rs:1: the value of `event` must be a literal",
        ),
        (
            line("z.rs:1", "EVENT", named("a.b"), "m"),
            "z.rs:1: use the macro of a level, not event!",
        ),
        (line("z.rs:1", "INFO", named("e.f"), "m"), "z.rs:1: e.f is not in telemetry/events.rs"),
        (line("z.rs:1", "INFO", named("a.b"), "m"), "z.rs:1: a.b has no level INFO in the table"),
        (
            line("z.rs:1", "WARN", named("a.b"), "other"),
            "a.b has two meanings: \"m\" at x.rs:1, \"other\" at z.rs:1",
        ),
    ];
    for (bad, expected) in cases {
        let lines = [good.as_slice(), &[bad]].concat();
        assert_eq!(disagreements(&table, &lines), [expected]);
    }
    assert_eq!(disagreements(&table, &good[..3]), ["no line has the event c.d at level WARN"]);
    let twice = [table[0], table[0], table[1]];
    assert_eq!(
        disagreements(&twice, &good),
        ["no line has the event a.b at level WARN", "a.b stands before a.b in the table"]
    );
}

/// Names that programs read, and what a cell of the manual's table holds.
#[test]
fn events_are_named_and_described_alike() {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    for event in EVENTS {
        let parts: Vec<_> = event.name.split('.').collect();
        assert!(
            event.name == events::LIBRARY || (parts.len() == 2 && parts.into_iter().all(is_word)),
            "{}: area.what_happened",
            event.name
        );
        for text in [event.meaning, event.action] {
            let is_sentence = text.ends_with('.')
                && text.starts_with(|c: char| c.is_ascii_uppercase() || c == '`');
            assert!(is_sentence && !text.contains(". "), "{}: one sentence: {text}", event.name);
            assert!(!text.contains(['\n', '|']) && !text.contains("  "), "{}: {text}", event.name);
        }
    }
}

/// Every string that looks like a code, in the files where errors become responses.
#[test]
fn the_manual_has_every_error_code() {
    const FILES: [&str; 8] = [
        "src/api/error.rs",
        "src/auth/dashboard.rs",
        "src/auth/local.rs",
        "src/problem.rs",
        "src/proxy/error.rs",
        "src/service.rs",
        "src/service/denied.rs",
        "src/service/redirect.rs",
    ];
    const AREAS: [&str; 9] = [
        "acme.",
        "auth.",
        "gate.",
        "licensing.",
        "password-auth.",
        "path.",
        "redirect.",
        "request.",
        "upstream.",
    ];
    let found = Found::in_sources();
    let is_code = |text: &&String| {
        let letters =
            text.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'-'));
        letters && !text.ends_with('.') && AREAS.iter().any(|area| text.starts_with(area))
    };
    let mut codes: BTreeSet<String> =
        FILES.iter().flat_map(|file| &found.strings[*file]).filter(is_code).cloned().collect();
    codes.extend(rejections().into_iter().map(|code| format!("licensing.token.{code}")));

    // The dashboard's own, which the gate returns as it came.
    let dashboards = ["session.token.rotate"];
    let api = Document::of("src/manual/api.md").unwrap();
    let in_manual: BTreeSet<String> = rows_of(api, "messageId")
        .into_iter()
        .filter(|code| !dashboards.contains(&&**code))
        .collect();
    let missing: Vec<_> = codes.difference(&in_manual).collect();
    let surplus: Vec<_> = in_manual.difference(&codes).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing: {missing:#?}\nnot in the code: {surplus:#?}"
    );
}

/// The strings of `Rejection::code`.
fn rejections() -> Vec<String> {
    let file =
        syn::parse_file(&fs::read_to_string(root().join("src/license/rejection.rs")).unwrap())
            .unwrap();
    let methods = file.items.into_iter().filter_map(|item| match item {
        syn::Item::Impl(item) => Some(item.items),
        _ => None,
    });
    let code = methods.flatten().find_map(|item| match item {
        syn::ImplItem::Fn(method) if method.sig.ident == "code" => Some(method),
        _ => None,
    });
    #[derive(Default)]
    struct Strings(Vec<String>);
    impl syn::visit::Visit<'_> for Strings {
        fn visit_attribute(&mut self, _: &syn::Attribute) {}

        fn visit_lit_str(&mut self, string: &syn::LitStr) {
            self.0.push(string.value());
        }
    }
    let mut strings = Strings::default();
    syn::visit::Visit::visit_impl_item_fn(&mut strings, &code.expect("Rejection::code"));
    strings.0
}

/// Those of the table, and of the line that is shown as JSON.
#[test]
fn the_manual_explains_every_field_of_the_access_log() {
    let source = fs::read_to_string(root().join("src/telemetry/access.rs")).unwrap();
    let line = syn::parse_file(&source).unwrap().items.into_iter().find_map(|item| match item {
        syn::Item::Struct(item) if item.ident == "Line" => Some(item),
        _ => None,
    });
    let fields = line.expect("the fields of a line").fields;
    let fields: BTreeSet<_> =
        fields.iter().map(|field| field.ident.as_ref().unwrap().to_string()).collect();

    let explained = rows(
        operating()
            .part("### Access log")
            .split_once("| field ")
            .unwrap()
            .1
            .split("\n\n")
            .next()
            .unwrap(),
    );
    let explained: BTreeSet<_> =
        explained.iter().flat_map(|row| row[0].split(", ").map(str::to_owned)).collect();
    assert_eq!(explained, fields);

    let shown = operating().blocks.iter().find(|block| block.language == "json").unwrap();
    let shown: BTreeMap<String, serde_json::Value> = serde_json::from_str(&shown.text).unwrap();
    assert_eq!(shown.into_keys().collect::<BTreeSet<_>>(), fields);
}

#[test]
fn the_manual_explains_every_flag() {
    let flags = [Flag::ConnectFailed, Flag::CutByUpstream, Flag::TimedOut, Flag::ClientLeft];
    let explained: Vec<_> = operating()
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    for flag in flags {
        // Without `_`: a new flag does not compile here.
        let name = match flag {
            Flag::ConnectFailed | Flag::CutByUpstream | Flag::TimedOut | Flag::ClientLeft => {
                flag.as_str()
            }
        };
        assert!(explained.contains(&name), "{name} is not explained");
    }
}

#[test]
fn the_manual_has_every_exit_code() {
    let mut table = String::from("| command | exit codes |\n|---|---|\n");
    let mut grammar = cli::grammar();
    grammar.build();
    add_commands(&grammar, &mut table);
    operating().has_generated("exit codes", &table);
}

fn add_commands(command: &clap::Command, table: &mut String) {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        if below.has_subcommands() {
            add_commands(below, table);
        } else {
            let codes = exit_codes_text(below);
            *table += &format!(
                "| `{}` | {} |\n",
                below.get_bin_name().unwrap(),
                codes.trim_end_matches('.')
            );
        }
    }
}

/// What the help of a command states about its exit codes: `0 done, 1 not done`.
fn exit_codes_text(command: &clap::Command) -> String {
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let codes =
        long.split("\n\n").find_map(|paragraph| paragraph.trim().strip_prefix("Exit codes:"));
    let codes = codes.unwrap_or("0 done, 1 not done");
    codes.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The exit codes of a command, and what each means.
pub(crate) fn exit_codes(command: &clap::Command) -> Vec<(u8, String)> {
    let mut codes: Vec<(u8, String)> = Vec::new();
    for part in exit_codes_text(command).split([';', ',']) {
        let (number, meaning) = part.trim().split_once(' ').unwrap_or((part, ""));
        match number.parse() {
            Ok(code) => codes.push((code, meaning.to_owned())),
            Err(_) => assert!(!codes.is_empty(), "a number comes first: {part}"),
        }
    }
    codes
}

/// Of a gate that has everything that metrics are about.
#[test]
fn the_manual_has_every_metric() {
    let scrape = &Gate::start().metrics;
    let mut help = BTreeMap::new();
    let mut kinds = BTreeMap::new();
    let mut labels: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for line in scrape.lines() {
        if let Some((name, text)) =
            line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        {
            help.insert(name, text.trim_end_matches('.'));
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            kinds.insert(name, kind);
        } else if let Some((series, rest)) = line.split_once('{').filter(|_| !line.starts_with('#'))
        {
            let of_series = labels.entry(series).or_default();
            let (all, _) = rest.rsplit_once('}').expect("labels end");
            for (name, value) in all.split("\",").filter_map(|label| label.split_once("=\"")) {
                if name != "le" {
                    of_series.entry(name).or_default().insert(value.trim_end_matches('"'));
                }
            }
        }
    }
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for (family, kind) in &kinds {
        let name = match *kind {
            "counter" if !family.ends_with("_total") => format!("{family}_total"),
            "info" if !family.ends_with("_info") => format!("{family}_info"),
            _ => (*family).to_owned(),
        };
        let bucket = format!("{family}_bucket");
        let of = labels.get(&*name).or_else(|| labels.get(&*bucket));
        let of = of.map(|labels| {
            labels.iter().map(|(name, values)| label(name, values)).collect::<Vec<_>>().join("; ")
        });
        let short = name.strip_prefix("license_gate_").unwrap_or(&name);
        table += &format!(
            "| `{short}` | {kind} | {} | {} |\n",
            of.unwrap_or_default(),
            help.get(family).unwrap_or(&"")
        );
    }
    operating().has_generated("metrics", &table);
}

/// A label, and its values if every series is there from the start.
fn label(name: &str, values: &BTreeSet<&str>) -> String {
    const COMPLETE: [&str; 5] = ["action", "kind", "outcome", "status", "stream"];
    if !COMPLETE.contains(&name) {
        return format!("`{name}`");
    }
    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
    format!("`{name}`: {}", values.join(", "))
}

/// A gate with TLS, a license that ends, and nothing behind it. It has answered one request, and has renewed its license,
/// which was revoked after a first scrape.
struct Gate {
    child: Child,
    /// Of a valid and of a revoked license.
    metrics: String,
    _place: tempfile::TempDir,
}

impl Gate {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().to_owned();
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        let pair = KeyPair::generate(Algorithm::ES256).unwrap();
        let now = Clock::system().now().as_secs();
        let token = |issued: u64| {
            let claims = json!({
                "sub": "https://127.0.0.1/", "lid": "1", "iat": issued, "exp": now + 86_400, "lexp": now + 86_400,
                "company": "E", "included_users": 5
            });
            pair.sign(&claims).unwrap().as_str().to_owned()
        };
        write("license.jwt", &token(now - 60));
        write("jwks.json", &pair.jwks().to_string());
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        write("cert.pem", &certificate.cert.pem());
        write("key.pem", &certificate.signing_key.serialize_pem());
        let issuer = issuer(token(now));
        // bcrypt of "a", with the lowest cost there is.
        let hash = bcrypt::hash("a", 4).unwrap();
        let settings = format!(
            "server.listen = ['http://127.0.0.1:0']
             server.root_url = 'https://127.0.0.1/'
             server.workers = 1
             server.tls = {{ cert_file = 'cert.pem', key_file = 'key.pem' }}
             upstream.url = 'http://127.0.0.1:1'
             license = {{ keys = 'jwks.json', file = 'license.jwt', revocations = 'revoked.jwt' }}
             store.url = 'file:data'
             renewal.url = 'http://{issuer}/'
             admin.listen = '127.0.0.1:0'
             log.access = false
             gate.rules = [{{ name = 'reports', paths = ['/api/reports/**'] }}]
             [auth]
             mode = 'local'
             users = [{{ name = 'a', password_hash = '{hash}', permissions = ['licensing:write'] }}]"
        );
        write("gate.toml", &settings);
        let mut child = Command::new(env!("CARGO_BIN_EXE_license-gate"))
            .args(["serve", "--config", "gate.toml"])
            .current_dir(&dir)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let listening =
            lines.find(|line| line.contains("message=\"listening\"")).expect("it listens");
        let address = |name: &str| {
            let (_, rest) = listening.split_once(&format!("{name}=\"http://")).expect(name);
            rest.split('"').next().unwrap().to_owned()
        };
        let (admin, public) = (address("admin"), address("listen"));
        let mut gate = Self { child, metrics: String::new(), _place: place };
        ask(&public, "GET / HTTP/1.1\r\n");
        // `a:a`.
        let renew = "POST /api/licensing/token/renew HTTP/1.1\r\nAuthorization: Basic YTph\r\nContent-Length: 0\r\n";
        let renewed = ask(&public, renew);
        assert!(renewed.starts_with("HTTP/1.1 200 "), "{renewed}");
        let scrape = || ask(&admin, "GET /metrics HTTP/1.1\r\n");
        let valid = scrape();
        write("revoked.jwt", &pair.sign_revocations(&json!({ "seq": 1, "lid": ["1"] })).unwrap());
        lines.find(|line| line.contains("event=license.not_valid")).expect("it is revoked");
        std::thread::Builder::new().spawn(move || lines.for_each(drop)).unwrap();
        gate.metrics = valid + &scrape();
        gate
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The response to a request, of which these are the first lines.
fn ask(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{head}Host: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Answers one renewal with `token`.
fn issuer(token: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).unwrap();
            assert_ne!(read, 0, "a request with a JSON object");
            request.extend_from_slice(&piece[..read]);
        }
        let body = json!({ "token": token }).to_string();
        let length = body.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    };
    std::thread::Builder::new().spawn(answer).unwrap();
    address
}

/// The first column of each table whose head begins with `name`.
pub(crate) fn rows_of(document: &Document, name: &str) -> Vec<String> {
    let head = format!("| `{name}` |");
    let tables = document.text.split("\n\n").filter(|part| part.starts_with(&head));
    tables.flat_map(rows).map(|mut row| row.remove(0)).collect()
}
