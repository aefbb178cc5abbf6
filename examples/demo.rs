//! Everything at once: the gate, a dashboard behind it, an issuer that renews licenses, and an installed license.
//!
//! Run `cargo run --release --example demo` and open the address that it prints. Uses well-known ports if they are free,
//! others if not. Files are in a temporary directory, which Ctrl-C removes. `-- --state STATE` starts with a license in another state.
#![allow(clippy::print_stdout, reason = "an example prints to the terminal")]
#![allow(clippy::disallowed_methods, reason = "tasks end with the runtime of the example")]

#[path = "support/client.rs"]
mod client_support;
#[path = "support/dashboard/mod.rs"]
mod dashboard;
#[path = "support/http.rs"]
mod http_support;
#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/stage.rs"]
mod stage_support;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dashboard::users::DEMO_USERS;
use http::Request;
use issuer::Issuer;
use license_gate::app::App;
use license_gate::clock::Clock;
use license_gate::config::Config;
use license_gate::downstream::{Listen, ListenAddress};
use license_gate::license::{Algorithm, KeyPair, RevocationList};
use license_gate::shutdown::Stop;
use license_gate::store;
use license_gate::upstream::Origin;
use serde_json::{Map, Value, json};
use stage_support::Running;

const DAY_SECONDS: u64 = 86_400;
const USAGE: &str = "demo [--state valid|expiring|expired|none|revoked|failing-renewal]";

const LID: &str = "1001";
/// A valid license that is not installed, in the directory of the demo.
const OTHER_LICENSE: &str = "license.jwt";

/// The license that the demo starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Valid,
    /// It ends in six days.
    Expiring,
    /// It ended three days ago.
    Expired,
    None,
    /// The issuer has revoked it.
    Revoked,
    /// It is due for renewal, and the issuer cannot be reached.
    FailingRenewal,
}

impl State {
    fn of(arguments: &[String]) -> anyhow::Result<Option<Self>> {
        let words: Vec<_> = arguments.iter().flat_map(|it| it.splitn(2, '=')).collect();
        Ok(Some(match words[..] {
            ["-h" | "--help"] => return Ok(None),
            [] | ["--state", "valid"] => Self::Valid,
            ["--state", "expiring"] => Self::Expiring,
            ["--state", "expired"] => Self::Expired,
            ["--state", "none"] => Self::None,
            ["--state", "revoked"] => Self::Revoked,
            ["--state", "failing-renewal"] => Self::FailingRenewal,
            _ => bail!("unknown arguments {:?}: use {USAGE}", arguments.join(" ")),
        }))
    }

    /// Claims of its license that differ from those of [`State::Valid`].
    fn changes(self, now: u64) -> Value {
        let day = DAY_SECONDS;
        match self {
            Self::Valid | Self::None | Self::Revoked => json!({}),
            Self::Expiring => {
                let end = now + 6 * day + 60;
                json!({ "nbf": end - 365 * day, "exp": end, "lexp": end })
            }
            Self::Expired => {
                let end = now - 3 * day;
                json!({ "nbf": end - 365 * day, "iat": now - 16 * day, "exp": now - 2 * day, "lexp": end })
            }
            Self::FailingRenewal => json!({ "iat": now - 3 * day, "exp": now + 11 * day }),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let Some(state) = State::of(&arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let files = tempfile::Builder::new().prefix("license-gate-demo-").tempdir()?;
    let pair = KeyPair::generate(Algorithm::ES256)?;
    let keys = files.path().join("issuer.jwks.json");
    std::fs::write(&keys, pair.jwks().to_string())?;

    let address = free(8080)?;
    let root_url = format!("http://{address}/");
    let list = files.path().join("revocations.jwt");
    let revoked = if state == State::Revoked { vec![LID] } else { vec![] };
    let revocations = json!({ "seq": 1, "jti": [], "lid": revoked });
    std::fs::write(&list, pair.sign_revocations(&revocations)?)?;
    let data = files.path().join("data");
    let license = pair.sign(&claims(&root_url, state))?;
    if !matches!(state, State::Valid | State::None) {
        // As if it had been installed some time ago: the API refuses a license that is not valid.
        std::fs::create_dir(&data)?;
        std::fs::write(data.join("license.jwt"), license.as_str())?;
    }
    let issuer = Issuer::new(pair).revoking(list.clone());
    let mut other = claims(&root_url, State::Valid);
    other.insert("lid".into(), "1002".into());
    std::fs::write(files.path().join(OTHER_LICENSE), issuer.issue(other)?.as_str())?;
    let dashboard = Running::start("dashboard", free(3000)?, dashboard::serve)?;
    let issuer = Running::start("issuer", free(8300)?, |listener| issuer::serve(listener, issuer))?;

    let mut config = Config { root_url: root_url.clone(), ..Config::default() };
    config.downstream.listen = vec![Listen { place: ListenAddress::Tcp(address), scheme: None }];
    config.upstream.origin =
        Origin::Http { host: "127.0.0.1".into(), port: dashboard.address().port() };
    config.license.keys = keys;
    config.license.revocations = Some(RevocationList::File(list));
    config.store = store::Config::file(data);
    let issuer_address = match state {
        // A port on which nothing listens.
        State::FailingRenewal => free(0)?,
        _ => issuer.address(),
    };
    config.feed.url = Some(format!("http://{issuer_address}/renew").parse()?);
    let metrics = Some(free(9180)?);
    config.admin.listen = metrics.map(Into::into);
    // An open page has a WebSocket; Ctrl-C does not wait for it.
    config.shutdown.grace_period = Duration::from_secs(1);

    let show = async {
        let token = json!({ "token": license.as_str() });
        match state {
            State::Valid => call(&root_url, "token", &token, 200).await?,
            // The schedule would try within minutes.
            State::FailingRenewal => call(&root_url, "token/renew", &json!({}), 502).await?,
            State::Expiring | State::Expired | State::None | State::Revoked => {}
        }
        introduce(state, &root_url, metrics, files.path());
        anyhow::Ok(())
    };
    let work = async {
        let mut stop = Stop::listen()?;
        let app = App::build(config).await?;
        tokio::select! {
            shown = async { show.await?; std::future::pending().await } => shown,
            ended = app.run_until(async move || stop.next().await) => ended.map_err(anyhow::Error::from),
        }
    };
    http_support::block_on(work)?
}

/// `port`, or a free one if it is in use.
fn free(port: u16) -> io::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bind(port).or_else(|_| bind(0))?.local_addr()
}

/// The claims of the license in `state`.
fn claims(root_url: &str, state: State) -> Map<String, Value> {
    let now = Clock::system().now().as_secs();
    let claims = json!({
        "jti": "demo-1", "iat": now, "exp": now + 14 * DAY_SECONDS,
        "iss": "demo", "sub": root_url, "lid": LID, "company": "Example Ltd", "slug": "example",
        "limit_by": "users", "included_users": 25, "prod": ["dashboard", "reports"], "update_days": 1,
        "lexp": now + 365 * DAY_SECONDS
    });
    let mut claims = claims.as_object().cloned().unwrap_or_default();
    claims.extend(state.changes(now).as_object().cloned().unwrap_or_default());
    claims
}

/// Calls the API as an administrator; the status must be this.
async fn call(root_url: &str, path: &str, body: &Value, status: u16) -> anyhow::Result<()> {
    let request = Request::post(format!("{root_url}api/licensing/{path}"))
        .header("authorization", format!("Basic {}", BASE64_STANDARD.encode("admin:admin")))
        .header("content-type", "application/json")
        .body(body.to_string())?;
    let answer = client_support::send(request).await.map_err(anyhow::Error::from_boxed)?;
    let text = String::from_utf8_lossy(answer.body());
    ensure!(answer.status() == status, "{path}: {} {text}", answer.status());
    Ok(())
}

fn introduce(state: State, root_url: &str, metrics: Option<SocketAddr>, files: &Path) {
    println!("\nlicense-gate runs in front of a demo dashboard.\n");
    println!("  open:     {root_url}");
    println!("  license:  {root_url}api/licensing/");
    for user in &DEMO_USERS {
        println!("  sign in:  {} / {}   {}", user.login, user.password, user.role);
    }
    if let Some(address) = metrics {
        println!("  metrics:  http://{address}/metrics");
    }
    println!("  files:    {}", files.display());
    println!("  another license, to install: {}\n\nTry:\n", files.join(OTHER_LICENSE).display());
    let api = format!("{root_url}api/licensing");
    let json = "-H 'Content-Type: application/json'";
    println!("  curl {api}/openapi.json");
    println!("  curl -u editor:editor {api}/check");
    println!("  curl -u admin:admin {api}/token");
    let renewal = match state {
        State::Valid | State::Expiring => "",
        State::None => "   # 404 with the reason",
        State::Expired | State::Revoked | State::FailingRenewal => "   # 502 with the reason",
    };
    println!("  curl -u admin:admin {json} -d '{{}}' {api}/token/renew{renewal}");
    println!("  curl -u viewer:viewer {api}/check                  # 403 with the reason");
    println!(
        "  curl -u admin:admin {json} -d '{{\"token\":\"x\"}}' {api}/token   # 400 with the reason"
    );
    println!(
        "  curl -u admin:admin {json} -X DELETE -d '{{\"instance\":\"{root_url}\"}}' {api}/token"
    );
    println!(
        "\nThe dashboard stays available without a license. Ctrl-C stops everything and removes the files.\n"
    );
}
