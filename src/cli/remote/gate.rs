//! The licensing API of a running gate.
//!
//! [`Gate::reach`] first asks for a route that needs credentials without giving any. Credentials are sent only to what answers as
//! a gate does, over HTTPS, or where plain HTTP is allowed. Redirects are not followed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use rustls::CertificateError;
use serde_json::Value;

use super::credentials;
use super::failure::{Failure, Reply, UNREACHABLE};
use crate::certificate;
use crate::cli::settings::duration;
use crate::cli::terminal::Terminal;
use crate::clock::Clock;
use crate::license::{Excerpt, RootUrl, printable};
use crate::outgoing::{self, Answer, Call, Cause, Client, Endpoint, Proxies, SetupError};
use crate::text;

/// A thousand former licenses.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// The field that states what is wrong with the license in force.
const WARNING: HeaderName = HeaderName::from_static("license-gate-warning");

/// The realm of a gate's 401.
const REALM: &str = "realm=\"license-gate\"";

/// The route that shows whether a gate answers.
const CHECK: &str = "api/licensing/check";
/// What Grafana says about itself without credentials.
const HEALTH: &str = "api/health";

/// Flags of the commands that call a gate.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// Public URL of the gate, with its base path
    #[arg(long, value_name = "URL", env = "LICENSE_GATE_URL", hide_env_values = true)]
    #[arg(value_hint = ValueHint::Url)]
    url: Option<String>,

    /// Take user name and password from this file [default: ~/.netrc]; LICENSE_GATE_USER selects among several
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    netrc: Option<Option<PathBuf>>,

    /// Authorities (PEM) that the gate's certificate is checked against, or that certificate itself [default: those of the
    /// platform]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_file: Option<PathBuf>,

    /// Send credentials over plain http too; without this flag, only to a loopback address
    #[arg(long)]
    insecure_http: bool,

    /// Limit for each request
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = timeout)]
    timeout: Duration,

    /// Print the JSON of the API
    #[arg(long)]
    pub(super) json: bool,
}

fn timeout(word: &str) -> Result<Duration, String> {
    let duration = duration(word)?;
    let range = Duration::from_millis(1)..=Duration::from_secs(3600);
    if range.contains(&duration) { Ok(duration) } else { Err("not between 1ms and 1h".to_owned()) }
}

/// A gate that answers, and the credentials for it.
pub(super) struct Gate {
    server: Server,
    authorization: HeaderValue,
    secrets: Vec<String>,
}

impl Gate {
    /// Checks that a gate answers, and obtains the credentials.
    pub(super) async fn reach(
        connection: &Connection,
        terminal: Option<&Terminal>,
    ) -> Result<Self, Failure> {
        let server = Server::of(connection)?;
        let netrc = connection.netrc.as_ref().map(Option::as_deref);
        let known = credentials::known(netrc, &server.host, terminal.is_none())?;
        if !connection.insecure_http && !server.is_private() {
            return Err(Failure::refused(format!(
                "{} is plain http, so that everyone on the network path could read the password: use https://, or --insecure-http on a network that you trust.",
                server.root
            )));
        }
        server.recognise().await?;
        let credentials = known.complete(terminal, &server.authority).await?;
        let (authorization, secrets) = (credentials.field, credentials.secrets);
        Ok(Self { server, authorization, secrets })
    }

    /// The root URL as it was given.
    pub(super) fn url(&self) -> &str {
        self.server.root.as_str()
    }

    /// `text` without credentials and tokens, which a server might repeat.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut text = without_tokens(text);
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }

    /// Calls a route below `api/licensing/`, and returns the JSON of a success.
    pub(super) async fn call(
        &self,
        method: Method,
        route: &str,
        body: Option<Value>,
    ) -> Result<Reply, Failure> {
        let changes = method != Method::GET;
        let mut call = match body {
            Some(body) => Call::post(body.to_string(), MAX_ANSWER_BYTES)
                .field(CONTENT_TYPE, HeaderValue::from_static("application/json")),
            None => Call::get(MAX_ANSWER_BYTES),
        };
        call.method = method;
        let call = call.field(AUTHORIZATION, self.authorization.clone());
        let called = self.server.call(&format!("api/licensing/{route}"), call).await;
        let answer = called.map_err(|mut failure| {
            if changes {
                failure.text.push_str(" A change may have been made: run `license-gate license show` before you try again.");
            }
            failure
        })?;
        self.server
            .json(&answer)
            .map_err(|failure| Failure { text: self.masked(&failure.text), ..failure })
    }
}

/// What `--url` leads to.
struct Server {
    client: Client,
    /// Ends with a slash.
    root: RootUrl,
    /// Without brackets.
    host: String,
    /// Host and port.
    authority: String,
}

impl Server {
    fn of(connection: &Connection) -> Result<Self, Failure> {
        let url = connection.url.as_deref().map(text::trimmed).filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| {
            Failure::refused("No gate is named: give its public URL with --url or LICENSE_GATE_URL, such as https://metrics.example.com/.")
        })?;
        // The text is not shown, because it may contain a password.
        let root = RootUrl::parse(url)
            .map_err(|error| Failure::refused(format!("--url cannot be used: {error}.")))?;
        if let Some((base, _)) = root.as_str().split_once("/api/licensing") {
            return Err(Failure::refused(format!(
                "--url is the URL of the dashboard, without the path of the API: use {base}/."
            )));
        }
        let uri: Uri = root
            .as_str()
            .parse()
            .map_err(|_| Failure::refused("--url cannot be used: it is not a URL."))?;
        let host = uri.host().unwrap_or_default();
        let authority = format!("{host}:{}", root.port());
        let host = host.trim_matches(['[', ']']).to_owned();
        let proxies = match is_loopback(&host) {
            // A proxy would read what is meant for this machine only.
            true => Proxies::none(),
            false => Proxies::from_environment(),
        };
        let config =
            outgoing::Config { ca_file: connection.ca_file.clone(), timeout: connection.timeout };
        let client = Client::new(&config, proxies, Clock::system());
        Ok(Self { client, root, host, authority })
    }

    /// Whether nobody on the network path can read what is sent.
    fn is_private(&self) -> bool {
        self.root.scheme() == "https" || is_loopback(&self.host)
    }

    /// Checks, without credentials, that a gate answers.
    async fn recognise(&self) -> Result<(), Failure> {
        let answer = self.call(CHECK, Call::get(MAX_ANSWER_BYTES)).await?;
        let realms = answer.fields.get_all(WWW_AUTHENTICATE).iter();
        let mut realms = realms.filter_map(|field| field.to_str().ok());
        match answer.status {
            StatusCode::UNAUTHORIZED if realms.any(|field| field.contains(REALM)) => Ok(()),
            // `auth.public_check`.
            StatusCode::OK if matches!(&*answer.body, b"true" | b"false") => Ok(()),
            StatusCode::UNAUTHORIZED => Err(self.not_a_gate(&answer).await),
            _ => match self.json(&answer) {
                // A gate that is full, or stopping.
                Err(failure) if failure.json.is_some() => Err(failure),
                Err(failure) if answer.status.is_redirection() => Err(failure),
                Ok(_) | Err(_) => Err(self.not_a_gate(&answer).await),
            },
        }
    }

    /// The failure for a server that does not answer as a gate does.
    async fn not_a_gate(&self, answer: &Answer) -> Failure {
        let health = self.call(HEALTH, Call::get(MAX_ANSWER_BYTES)).await.ok();
        let health = health.filter(|health| health.status == StatusCode::OK);
        let health: Option<Value> =
            health.and_then(|health| serde_json::from_slice(&health.body).ok());
        let grafana = health.filter(|health| health["database"].is_string());
        let found = match grafana {
            Some(health) => {
                let version = health["version"].as_str().map(Excerpt::of);
                let version = version.map_or_else(String::new, |version| format!(" {}", version.bare()));
                format!("Grafana{version} answers there, and no gate in front of it")
            }
            None if answer.status == StatusCode::UNAUTHORIZED => {
                "a server answers there that asks for credentials itself, such as a proxy in front of the gate or a dashboard without a gate".to_owned()
            }
            None => format!("a server answers there with status {}", answer.status.as_u16()),
        };
        Failure::new(
            UNREACHABLE,
            format!(
                "There is no license-gate at {}: {found}. No credentials were sent. Check host, port and base path of --url: it is the `server.root_url` of the gate.",
                self.root
            ),
        )
    }

    /// The JSON of a success.
    fn json(&self, answer: &Answer) -> Result<Reply, Failure> {
        let reply = Reply::of(&answer.body);
        let status = answer.status;
        let is_success = matches!(status, StatusCode::OK | StatusCode::ACCEPTED);
        if is_success && let Some(reply) = reply {
            let warning = answer.fields.get(WARNING).and_then(|field| field.to_str().ok());
            return Ok(Reply { warning: warning.map(str::to_owned), ..reply });
        }
        if status.is_redirection() {
            return Err(self.redirected(answer));
        }
        let failure = reply.and_then(|reply| {
            let retry_after = answer.retry_after().map(|wait| wait.as_secs());
            Failure::of(status, retry_after, reply)
        });
        Err(failure.unwrap_or_else(|| {
            let text = format!(
                "{} responds with status {}, and not as the licensing API of a gate does: check --url and what is between this machine and the gate.",
                self.root,
                status.as_u16()
            );
            Failure::new(UNREACHABLE, text)
        }))
    }

    fn redirected(&self, answer: &Answer) -> Failure {
        let location = answer.fields.get(LOCATION).and_then(|field| field.to_str().ok());
        let location = location.unwrap_or_default();
        let root = location.split_once("api/licensing/").map(|(root, _)| root);
        let advice = match root.and_then(|root| RootUrl::parse(root).ok()) {
            Some(root) if root != self.root => format!("use --url {root}"),
            _ => format!(
                "it leads to {}, which is not a gate: check --url",
                printable(&Excerpt::of(location).to_string())
            ),
        };
        let text =
            format!("{} responds with a redirect, which is not followed: {advice}.", self.root);
        Failure::new(UNREACHABLE, text)
    }

    async fn call(&self, path: &str, mut call: Call) -> Result<Answer, Failure> {
        call.every_body = true;
        let endpoint = self.endpoint(path)?;
        endpoint.call(call).await.map_err(|error| self.unreachable(&error))
    }

    fn endpoint(&self, path: &str) -> Result<Endpoint, Failure> {
        let invalid = |_| Failure::refused("--url cannot be used: it is not a URL.");
        let uri: Uri = format!("{}{path}", self.root).parse().map_err(invalid)?;
        let peer = format!("the gate at {}", self.authority);
        self.client.endpoint("--url", &peer, &uri).map_err(|error| {
            let message = match &error {
                SetupError::Authorities(error) => {
                    format!("--ca-file cannot be used: {}.", text::chain(error))
                }
                SetupError::Url(_) | SetupError::Proxy(_) => format!("{}.", text::chain(&error)),
            };
            Failure::refused(message)
        })
    }

    fn unreachable(&self, error: &outgoing::Error) -> Failure {
        let advice = match &error.cause {
            Cause::Tls(fault) if !error.by_proxy => return self.untrusted(fault),
            _ if error.by_proxy => "check the proxy in the environment (https_proxy, no_proxy)",
            Cause::Timeout(_) => "check --url and the network; --timeout sets the limit",
            _ => "check --url, and that the gate runs",
        };
        let chain = printable(&text::chain(error));
        Failure::new(UNREACHABLE, format!("{}: {advice}.", capitalised(&chain)))
    }

    /// The failure of a TLS handshake: which certificate, why, and how to trust it.
    fn untrusted(&self, fault: &std::io::Error) -> Failure {
        let tls = fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let text = match tls {
            Some(rustls::Error::InvalidCertificate(why)) => {
                let which = self.client.refused_certificate();
                let which = which.map(|it| certificate::described(&it)).unwrap_or_default();
                let (why, advice) = doubt(why);
                format!(
                    "The certificate of {} does not verify: {why}. It is {}. {advice}",
                    self.authority,
                    printable(&which)
                )
            }
            Some(rustls::Error::InvalidMessage(_)) => format!(
                "{} does not speak TLS: check the port of --url, or write http://.",
                self.authority
            ),
            _ => format!(
                "TLS with {} failed: {}: check the port of --url.",
                self.authority,
                printable(&fault.to_string())
            ),
        };
        Failure::new(UNREACHABLE, text)
    }
}

/// Why a certificate does not verify, and what to do.
fn doubt(why: &CertificateError) -> (String, &'static str) {
    const TRUST: &str = "If it is the right one, get the certificate of its authority from the operator of the gate, and give it with --ca-file. A self-signed certificate can be given with --ca-file, too.";
    const RENEW: &str =
        "The operator of the gate has to renew it. Check the clock of this machine too.";
    const NAME: &str = "Write --url with a name that the certificate has; the operator of the gate can issue one for this name.";
    match why {
        CertificateError::UnknownIssuer => {
            ("this machine does not trust its issuer".to_owned(), TRUST)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("it has expired".to_owned(), RENEW)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("it is not valid yet".to_owned(), RENEW)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("it is for another name".to_owned(), NAME)
        }
        // A self-signed certificate that is not in the file.
        CertificateError::Other(error)
            if matches!(error.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
        {
            ("it is self-signed, and this machine does not trust it".to_owned(), TRUST)
        }
        other => (printable(&other.to_string()), TRUST),
    }
}

/// `text` with `***` for each compact JWS in it.
pub(super) fn without_tokens(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let (mut masked, mut rest) = (String::with_capacity(text.len()), text);
    // The start of a JSON object in base64url.
    while let Some(at) = rest.find("eyJ") {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let is_token = from[..end].matches('.').count() >= 2;
        masked.push_str(before);
        masked.push_str(if is_token { "***" } else { &from[..end] });
        rest = &from[end..];
    }
    masked.push_str(rest);
    masked
}

fn is_loopback(host: &str) -> bool {
    let address: Result<IpAddr, _> = host.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_masked_and_other_text_is_not() {
        for (text, masked) in [
            ("", ""),
            ("begins with `eyJ`. So.", "begins with `eyJ`. So."),
            ("\"eyJhbGciOiJFUzI1NiJ9.e30.AA\"", "\"***\""),
            ("a=eyJh.e30.AA, b=eyJh.e30.AA", "a=***, b=***"),
            ("eyJh.e30", "eyJh.e30"),
            ("é eyJh.eyJh.eyJhé", "é ***é"),
        ] {
            assert_eq!(without_tokens(text), masked);
        }
    }

    #[test]
    fn loopback_addresses_are_of_this_machine() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "0.0.0.0", "10.0.0.1", "::", "127.0.0.1.example", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
