//! `license-gate init`: writes a configuration from three answers or flags.
//!
//! An answer is checked like a value of the configuration. At a terminal, the question is repeated after a bad answer.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};
use http::{StatusCode, Uri};
use serde_json::Value;
use tokio::net::UnixStream;

use super::streams::{fail_all, print, warn_all};
use super::terminal::{self, Terminal};
use crate::clock::Clock;
use crate::config::{Flag, Loaded, Origin, Sources};
use crate::license::{Excerpt, RootUrl, printable};
use crate::outgoing::{self, Call, Client, Proxies};
use crate::text::{chain, trimmed};
use crate::upstream;

/// Limit for the attempt to reach the dashboard.
const PATIENCE: Duration = Duration::from_secs(3);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Write a commented configuration file
///
/// Asks for the dashboard, the public URL and the issuer's keys, unless flags give them, and tries to reach the dashboard. An
/// existing file is never overwritten.
///
/// Exit codes: 0 written, 1 not written, 2 wrong usage.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Address of the dashboard: http://HOST:PORT, https://HOST:PORT or unix:/path
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    upstream: Option<String>,

    /// URL that users type to reach the dashboard through the gate; its path is the base path
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    root_url: Option<String>,

    /// Trusted keys of the license issuer: a JWKS file, a PEM public key, a directory of such files, or the URL of a JWKS
    #[arg(long, value_name = "PATH|URL", value_hint = ValueHint::AnyPath)]
    issuer_keys: Option<String>,

    /// File to write
    #[arg(long, value_name = "FILE", default_value = "gate.toml", value_hint = ValueHint::FilePath)]
    out: PathBuf,
}

/// A question, and the flag that answers it.
struct Question {
    flag: &'static str,
    text: &'static str,
}

const DASHBOARD: Question = Question {
    flag: "--upstream",
    text: "Address of the dashboard, such as http://127.0.0.1:3000: ",
};
const PUBLIC: Question = Question {
    flag: "--root-url",
    text: "Public URL of the dashboard, such as https://metrics.example.com/: ",
};
const KEYS: Question = Question {
    flag: "--issuer-keys",
    text: "Keys of the license issuer, a file, a directory or the URL of a JWKS: ",
};

/// The three answers, as far as they are known.
#[derive(Clone, Debug, Default)]
struct Answers {
    upstream: Option<String>,
    root_url: Option<String>,
    keys: Option<String>,
}

impl Init {
    pub(super) fn run(self) -> u8 {
        terminal::run(async {
            match self.write().await {
                Ok(text) => print(text.as_bytes()),
                Err(faults) => fail_all(faults),
            }
        })
    }

    async fn write(self) -> Result<String, Vec<String>> {
        let Self { upstream, root_url, issuer_keys, out } = self;
        let shown = printable(&out.display().to_string());
        if out.as_os_str() == "-" {
            return Err(vec!["--out takes a file, not standard output".to_owned()]);
        }
        if std::fs::symlink_metadata(&out).is_ok() {
            return Err(vec![format!(
                "{shown} exists already and is not overwritten: remove it, or name another file with --out"
            )]);
        }
        let given = [(&DASHBOARD, &upstream), (&PUBLIC, &root_url), (&KEYS, &issuer_keys)];
        let missing: Vec<_> =
            given.iter().filter(|(_, it)| it.is_none()).map(|it| it.0.flag).collect();
        let terminal = Terminal::open();
        if terminal.is_none() && !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(vec![format!("there is no terminal to ask on: add {missing}")]);
        }
        let terminal = terminal.as_ref();
        let mut answers = Answers::default();
        let mut faults = Vec::new();
        let asked = answer(terminal, &DASHBOARD, upstream, &mut faults, |word| Answers {
            upstream: Some(word),
            ..Answers::default()
        });
        answers.upstream = asked.await?;
        if let Some(origin) = origin(&answers) {
            report(&found(&origin).await);
        }
        let asked = answer(terminal, &PUBLIC, root_url, &mut faults, |word| Answers {
            root_url: Some(word),
            ..answers.clone()
        });
        answers.root_url = asked.await?;
        let asked = answer(terminal, &KEYS, issuer_keys, &mut faults, |word| Answers {
            keys: Some(word),
            ..answers.clone()
        });
        answers.keys = asked.await?;
        if !faults.is_empty() {
            return Err(faults);
        }
        create(&out, &answers.file())
            .map_err(|error| vec![format!("{shown} cannot be written: {error}{}", remedy(&out))])?;
        report_rest(&out);
        Ok(format!(
            "{shown} is written. Next:\n  license-gate check-config --config {shown}\n  license-gate serve --config {shown}\n"
        ))
    }
}

/// What to do first if the directory of `path` does not exist.
fn remedy(path: &Path) -> String {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists());
    dir.map(|dir| format!("; run `mkdir -p {}` first", printable(&dir.display().to_string())))
        .unwrap_or_default()
}

/// The answer from a flag, or else from the user. Faults of a flag are added to `faults`; for the user, the question is
/// repeated.
async fn answer(
    terminal: Option<&Terminal>,
    question: &Question,
    given: Option<String>,
    faults: &mut Vec<String>,
    with: impl Fn(String) -> Answers,
) -> Result<Option<String>, Vec<String>> {
    let Question { flag, text } = question;
    if let Some(word) = given {
        let word = trimmed(&word).to_owned();
        let found = with(word.clone()).faults(flag);
        let is_good = found.is_empty();
        faults.extend(found.into_iter().map(|fault| format!("{flag}: {fault}")));
        return Ok(is_good.then_some(word));
    }
    let Some(terminal) = terminal else { return Ok(None) };
    loop {
        let word = terminal.ask(text).await;
        let word = word.map_err(|error| vec![format!("the terminal cannot be read: {error}")])?;
        let word = trimmed(&word).to_owned();
        let found = with(word.clone()).faults(flag);
        if found.is_empty() {
            return Ok(Some(word));
        }
        report(&found.join("\n"));
    }
}

impl Answers {
    fn flags(&self) -> Vec<Flag> {
        let flag = |name, key, word: Option<String>| Some(Flag { name, key, words: vec![word?] });
        let (keys, jwks) = match self.keys.clone() {
            Some(url) if is_url(&url) => (None, Some(url)),
            path => (path, None),
        };
        [
            flag(DASHBOARD.flag, "upstream.url", self.upstream.clone()),
            flag(PUBLIC.flag, "server.root_url", self.root_url.clone()),
            flag(KEYS.flag, "license.keys", keys),
            flag(KEYS.flag, "license.jwks_url", jwks),
            flag("--listen", "server.listen", Some(self.listen())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What is wrong with the answer that the flag `name` gives, the last one.
    fn faults(&self, name: &str) -> Vec<String> {
        if self.flags().iter().any(|flag| flag.name == name && flag.words == [""]) {
            return vec!["the answer is empty".to_owned()];
        }
        let sources = Sources { flags: self.flags(), ..Sources::default() };
        let (loaded, faults) = Loaded::with_faults(sources);
        let mut faults: Vec<_> = faults.into_iter().collect();
        // What the files contain matters once their name is good.
        for examined in [loaded.examine(), loaded.examine_closely()] {
            faults.extend(examined.err().into_iter().flatten());
        }
        // Answers before this one are good, unless this one contradicts them.
        let of_flags = faults.iter().filter(|fault| matches!(fault.origin(), Origin::Flag(_)));
        let mut texts: Vec<_> = of_flags
            .map(|fault| {
                let text = fault.to_string();
                let prefix = format!("{name}: ");
                text.strip_prefix(&prefix).map(str::to_owned).unwrap_or(text)
            })
            .collect();
        texts.dedup();
        texts
    }

    /// Where the gate listens: at the port of a public URL with plain http, if that port needs no privilege; otherwise for a
    /// proxy on this machine.
    fn listen(&self) -> String {
        let root = self.root_url.as_deref().and_then(|url| RootUrl::parse(url).ok());
        if let Some(root) = root.filter(|root| root.scheme() == "http" && root.port() >= 1024) {
            let host = root.host_header();
            let is_local = ["127.", "localhost", "[::1]"].iter().any(|own| host.starts_with(own));
            return format!("{}:{}", if is_local { "127.0.0.1" } else { "0.0.0.0" }, root.port());
        }
        let is_taken = matches!(
            self.parsed_upstream(),
            Some(
                upstream::Origin::Http { port: 8080, .. }
                    | upstream::Origin::Https { port: 8080, .. }
            )
        );
        format!("127.0.0.1:{}", if is_taken { 8081 } else { 8080 })
    }

    fn parsed_upstream(&self) -> Option<upstream::Origin> {
        let words = vec![self.upstream.clone()?];
        let flags = vec![Flag { name: DASHBOARD.flag, key: "upstream.url", words }];
        let (loaded, _) = Loaded::with_faults(Sources { flags, ..Sources::default() });
        Some(loaded.config.upstream.origin)
    }

    /// The file.
    fn file(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let given = |answer: &Option<String>| quoted(answer.as_deref().unwrap_or_default());
        let keys = self.keys.clone().unwrap_or_default();
        let keys = match is_url(&keys) {
            true => format!("jwks_url = {}", quoted(&keys)),
            // The file may be written to another directory than this command runs in.
            false => {
                let path = std::path::absolute(&keys).unwrap_or_else(|_| PathBuf::from(&keys));
                format!("keys = {}", quoted(&path.display().to_string()))
            }
        };
        TEMPLATE
            .replace("{listen}", &quoted(&self.listen()))
            .replace("{root_url}", &given(&self.root_url))
            .replace("{upstream}", &given(&self.upstream))
            .replace("{keys}", &keys)
    }
}

fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    })
}

fn origin(answers: &Answers) -> Option<upstream::Origin> {
    answers.parsed_upstream().filter(|_| answers.upstream.is_some())
}

/// What answers at the dashboard's address, in a sentence.
async fn found(origin: &upstream::Origin) -> String {
    let (scheme, host, port) = match origin {
        upstream::Origin::Http { host, port } => ("http", host, port),
        upstream::Origin::Https { host, port } => ("https", host, port),
        upstream::Origin::Unix(path) => {
            let connected = tokio::time::timeout(PATIENCE, UnixStream::connect(path)).await;
            let shown = printable(&path.display().to_string());
            return match connected {
                Ok(Ok(_)) => format!("A server listens at {shown}."),
                Ok(Err(error)) => unreachable(&shown, &error.to_string()),
                Err(_) => unreachable(&shown, "no answer"),
            };
        }
        #[cfg(test)]
        upstream::Origin::Memory => return String::new(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let place = format!("{scheme}://{host}:{port}");
    let Ok(url) = format!("{place}/api/health").parse::<Uri>() else { return String::new() };
    let config = outgoing::Config { ca_file: None, timeout: PATIENCE };
    let client = Client::new(&config, Proxies::none(), Clock::system());
    let endpoint = match client.endpoint("upstream.url", &place, &url) {
        Ok(endpoint) => endpoint,
        Err(error) => return unreachable(&place, &chain(&error)),
    };
    match endpoint.call(Call::get(MAX_ANSWER_BYTES)).await {
        Ok(answer) => {
            let health: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            match health["version"].as_str().filter(|_| health["database"].is_string()) {
                Some(version) => {
                    format!("Grafana {} answers at {place}.", Excerpt::of(version).bare())
                }
                None if answer.status == StatusCode::OK || answer.status.is_client_error() => {
                    format!(
                        "A server answers at {place}, which does not look like Grafana. If it has no user API like Grafana's, set `auth.mode` to \"local\" in the file, and complete the user below it."
                    )
                }
                None => {
                    format!("A server answers at {place} with status {}.", answer.status.as_u16())
                }
            }
        }
        Err(error) => match error.cause {
            outgoing::Cause::Tls(_) => format!(
                "{}: if its authority is your own, set `upstream.tls.ca_file`.",
                printable(&chain(&error))
            ),
            _ => unreachable(&place, &printable(&chain(&error))),
        },
    }
}

fn unreachable(place: &str, why: &str) -> String {
    let why = why.strip_prefix(&format!("{place} ")).unwrap_or(why);
    format!("There is no dashboard at {place} now: {why}. The gate can start without it.")
}

fn create(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // An incomplete file would be refused at the next attempt.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Warns about what `check-config` would find in the file, which depends on the machine.
fn report_rest(path: &Path) {
    let sources = Sources { file: Some(path.to_owned()), ..Sources::default() };
    let (loaded, mut faults) = Loaded::with_faults(sources);
    for examined in [loaded.examine(), loaded.examine_closely()] {
        faults.extend(examined.err().into_iter().flatten());
    }
    warn_all(&faults.into_iter().map(|fault| fault.to_string()).collect::<Vec<_>>());
}

/// Prints a note to standard error.
fn report(text: &str) {
    // If standard error is closed, the file is the result.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

const TEMPLATE: &str = r#"# Configuration of license-gate. Settings that are not here have their defaults:
# `license-gate check-config --print --config FILE` shows them all, `license-gate man license-gate.toml` explains them.
# A relative path is relative to this file.

[server]
# Addresses for clients: host:port, [::]:port, unix:/path or systemd:NAME.
listen = [{listen}]
# The public URL of the dashboard. Licenses are issued for it, and its path is the base path.
root_url = {root_url}
# Networks of the proxies in front of the gate. Only their X-Forwarded-* fields are trusted.
# trusted_proxies = ["127.0.0.1/32"]

# If no proxy terminates TLS, the gate does. Then listen on "0.0.0.0:443".
# [server.tls]
# cert_file = "/etc/license-gate/tls.pem"
# key_file = "/etc/license-gate/tls.key"

[upstream]
# The dashboard: http://host:port, https://host:port or unix:/path.
url = {upstream}

[license]
# Public keys of the license issuer.
{keys}

[store]
# Where the license is stored: a directory of this gate alone, or a postgres:// database that several gates share.
url = "file:data"

# The issuer's renewal endpoint. Without it, licenses are installed by hand and no call is ever made.
# [renewal]
# url = "https://issuer.example.com/renew"

[auth]
# Who decides which callers may use the licensing API: "dashboard" (Grafana's user API), or "local" ([[auth.users]]) for a
# dashboard without that API, such as Prometheus. `license-gate hash-password` makes a hash.
mode = "dashboard"
# [[auth.users]]
# name = "admin"
# password_hash = "$argon2id$..."
# permissions = ["licensing:read", "licensing:write", "licensing:delete"]

[admin]
# Metrics and probes. "" turns them off.
listen = "127.0.0.1:9180"

[log]
# text or json
format = "text"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(upstream: &str, root_url: &str) -> Answers {
        let given = |word: &str| Some(word.to_owned());
        Answers { upstream: given(upstream), root_url: given(root_url), keys: given("/keys") }
    }

    #[test]
    fn the_gate_listens_where_clients_and_proxies_expect_it() {
        for (upstream, root_url, listen) in [
            ("http://127.0.0.1:3000", "https://metrics.example.com/", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080", "https://metrics.example.com/", "127.0.0.1:8081"),
            ("http://127.0.0.1:3000", "http://localhost:9000/", "127.0.0.1:9000"),
            ("http://127.0.0.1:3000", "http://metrics.example.com:9000/", "0.0.0.0:9000"),
            ("unix:/run/grafana.sock", "http://metrics.example.com/", "127.0.0.1:8080"),
        ] {
            assert_eq!(answers(upstream, root_url).listen(), listen, "{upstream} {root_url}");
        }
    }

    /// A commented setting is one that a user removes the `# ` of.
    #[test]
    fn every_commented_setting_is_accepted() {
        let is_setting = |line: &&str| line.starts_with('[') || line.contains(" = ");
        let file = answers("http://a:1", "https://b/").file();
        let lines = file.lines().map(|line| match line.strip_prefix("# ").filter(is_setting) {
            Some(setting) => setting,
            None => line,
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        assert!(text.contains("\n[server.tls]") && text.contains("\nurl = \"https://issuer"));
        // The user makes the hash.
        let hash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$U7nGLj/uh1yZKtvIc1F5RqNgy4bPqHQuh2mNMYvQDGg";
        let text = text.replace("$argon2id$...", hash);
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gate.toml");
        create(&path, &text).expect("written");
        let (_, faults) = Loaded::with_faults(Sources { file: Some(path), ..Sources::default() });
        assert!(faults.is_empty(), "{faults}\n{text}");
    }
}
