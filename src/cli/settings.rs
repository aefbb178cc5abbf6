//! The flags that set something, and the configuration they make together with environment and file.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Flag, Sources};

/// Flags for the essentials, so that no file is needed. All values are read by `config`, which reports every fault at once.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Configuration file (TOML); without it none is read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address to listen on: host:port, [::]:port, unix:/path or systemd:NAME, with http:// or https:// before it if need
    /// be (a Unix socket speaks TLS as https://unix:/path only); may be repeated
    /// [server.listen, default 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,

    /// Where the dashboard listens: http://, https:// or unix:/path [upstream.url, default http://127.0.0.1:3000]
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,

    /// What people type to reach this instance; its path is the base path
    /// [server.root_url, default http://127.0.0.1:8080/]
    #[arg(long, value_name = "URL")]
    root_url: Option<String>,

    /// Directory the license is kept in [store.url, default data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Issuer's keys that are trusted: a JWKS file, a PEM public key, or a directory of them
    /// [license.keys, default certs/issuer]
    #[arg(long, value_name = "PATH")]
    issuer_keys: Option<String>,

    /// Address of probes and metrics: host:port or unix:/path; "" for none [admin.listen, default 127.0.0.1:9180]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,

    /// Certificate chain (PEM, leaf first); makes the listener speak TLS [server.tls.cert_file]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,

    /// Private key of the certificate (PEM) [server.tls.key_file]
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,

    /// Threads that serve requests; 0 for one per core [server.workers, default 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    workers: Option<String>,

    /// Shape of log lines [log.format, default text]
    #[arg(long, value_name = "text|json")]
    log_format: Option<String>,
}

impl Settings {
    /// The file these flags name, the process's environment, and the flags themselves.
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

/// `store.url` of a directory. Two slashes after `file:` would begin a host; a path that begins with two says that it has
/// none.
pub(super) fn store_url(dir: &str) -> String {
    let authority = if dir.starts_with("//") { "//" } else { "" };
    format!("file:{authority}{dir}")
}
