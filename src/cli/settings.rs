//! The flags of `serve` and `check-config`. Together with the environment and the file they form the configuration.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Command, ValueHint};

use crate::config::{Flag, Kind, Sources, settings};

/// Parses the value of a flag that takes a duration.
pub(super) fn duration(word: &str) -> Result<Duration, String> {
    // The error of the parser lists names of units that only few people use.
    humantime::parse_duration(word.trim())
        .map_err(|_| "write a number with a unit, such as 10s, 5m, 2h or 7d".to_owned())
}

/// Flags for the most important settings, so that a gate can run without a file. `config` parses the values, so that it can
/// report all faults at once.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Configuration file (TOML); without this flag, no file is read
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// Address to listen on: host:port, [::]:port, unix:/path or systemd:NAME. http:// or https:// in front of it chooses
    /// the protocol; a Unix socket uses TLS only as https://unix:/path. Repeat the flag for more addresses
    /// [server.listen, default 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,

    /// Address of the dashboard: http://HOST:PORT, https://HOST:PORT or unix:/path
    /// [upstream.url, default http://127.0.0.1:3000]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    upstream: Option<String>,

    /// URL that users type to reach this instance; its path is the base path
    /// [server.root_url, default http://127.0.0.1:8080/]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    root_url: Option<String>,

    /// Directory that the license is stored in [store.url, default data]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    data_dir: Option<String>,

    /// Trusted keys of the license issuer: a JWKS file, a PEM public key, or a directory of such files
    /// [license.keys, default certs/issuer]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    issuer_keys: Option<String>,

    /// Address that serves health probes and metrics: host:port or unix:/path; "" turns them off [admin.listen, default 127.0.0.1:9180]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,

    /// Certificate chain (PEM, leaf first); turns on TLS [server.tls.cert_file]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    tls_cert: Option<String>,

    /// Private key of the certificate (PEM) [server.tls.key_file]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    tls_key: Option<String>,

    /// Number of threads that serve requests; 0: one per core [server.workers, default 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    workers: Option<String>,

    /// Format of log lines [log.format, default text]
    #[arg(long, value_name = "text|json", value_parser = Completed("log.format"), hide_possible_values = true)]
    log_format: Option<String>,
}

impl Settings {
    /// The configuration file.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.config.clone()
    }

    /// The file that `--config` names, the environment of the process, and the flags.
    pub(super) fn sources(self) -> Sources {
        let environment = std::env::vars_os().collect();
        Sources { file: self.config.clone(), environment, flags: self.flags() }
    }

    fn flags(self) -> Vec<Flag> {
        let data_dir = self.data_dir.map(|dir| store_url(&dir));
        let single = [
            ("--upstream", "upstream.url", self.upstream),
            ("--root-url", "server.root_url", self.root_url),
            ("--data-dir", "store.url", data_dir),
            ("--issuer-keys", "license.keys", self.issuer_keys),
            ("--admin-listen", "admin.listen", self.admin_listen),
            ("--tls-cert", "server.tls.cert_file", self.tls_cert),
            ("--tls-key", "server.tls.key_file", self.tls_key),
            ("--workers", "server.workers", self.workers),
            ("--log-format", "log.format", self.log_format),
        ];
        let listen = Flag { name: "--listen", key: "server.listen", words: self.listen };
        let single = single
            .into_iter()
            .filter_map(|(name, key, word)| Some(Flag { name, key, words: vec![word?] }));
        single.chain((!listen.words.is_empty()).then_some(listen)).collect()
    }
}

/// Any text, which shells complete with the words that this setting takes. `config` refuses other words, so that all faults
/// are reported at once.
#[derive(Clone, Debug)]
struct Completed(&'static str);

impl TypedValueParser for Completed {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let setting = settings().into_iter().find(|setting| setting.name == self.0)?;
        let Kind::OneOf(words) = setting.kind else { return None };
        Some(Box::new(words.iter().map(PossibleValue::new)))
    }
}

/// `store.url` for a directory. Two slashes after `file:` would start a host, so a path that starts with two slashes gets
/// an empty host in front of it.
pub(super) fn store_url(dir: &str) -> String {
    let authority = if dir.starts_with("//") { "//" } else { "" };
    format!("file:{authority}{dir}")
}
