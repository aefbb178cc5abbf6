//! Everything at once: the gate, a dashboard behind it, an issuer that renews licenses, and an installed license.
//!
//! Run `cargo run --release --example demo` and open the address that it prints. Uses well-known ports if they are free,
//! others if not. Files are in a temporary directory, which Ctrl-C removes.
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

use anyhow::ensure;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dashboard::users::DEMO_USERS;
use http::Request;
use issuer::Issuer;
use license_gate::app::App;
use license_gate::clock::Clock;
use license_gate::config::Config;
use license_gate::downstream::{Listen, ListenAddress};
use license_gate::license::{Algorithm, KeyPair};
use license_gate::shutdown::Stop;
use license_gate::store;
use license_gate::upstream::Origin;
use serde_json::{Map, Value, json};
use stage_support::Running;

const YEAR_SECONDS: u64 = 365 * 86_400;

fn main() -> anyhow::Result<()> {
    let files = tempfile::Builder::new().prefix("license-gate-demo-").tempdir()?;
    let pair = KeyPair::generate(Algorithm::ES256)?;
    let keys = files.path().join("issuer.jwks.json");
    std::fs::write(&keys, pair.jwks().to_string())?;

    let address = free(8080)?;
    let root_url = format!("http://{address}/");
    let list = files.path().join("revocations.jwt");
    std::fs::write(&list, pair.sign_revocations(&json!({ "seq": 1, "jti": [], "lid": [] }))?)?;
    let issuer = Issuer::new(pair).revoking(list);
    let license = issuer.issue(claims(&root_url))?;
    let dashboard = Running::start("dashboard", free(3000)?, dashboard::serve)?;
    let issuer = Running::start("issuer", free(8300)?, |listener| issuer::serve(listener, issuer))?;

    let mut config = Config { root_url: root_url.clone(), ..Config::default() };
    config.downstream.listen = vec![Listen { place: ListenAddress::Tcp(address), scheme: None }];
    config.upstream.origin =
        Origin::Http { host: "127.0.0.1".into(), port: dashboard.address().port() };
    config.license.keys = keys;
    config.store = store::Config::file(files.path().join("data"));
    config.feed.url = Some(format!("http://{}/renew", issuer.address()).parse()?);
    let metrics = Some(free(9180)?);
    config.admin.listen = metrics.map(Into::into);
    // An open page has a WebSocket; Ctrl-C does not wait for it.
    config.shutdown.grace_period = Duration::from_secs(1);

    let show = async {
        apply(&root_url, license.as_str()).await?;
        introduce(&root_url, metrics, files.path());
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

fn claims(root_url: &str) -> Map<String, Value> {
    let claims = json!({
        "iss": "demo", "sub": root_url, "lid": "1001", "company": "Example Ltd", "slug": "example",
        "limit_by": "users", "included_users": 25, "prod": ["dashboard", "reports"], "update_days": 1,
        "lexp": Clock::system().now().as_secs() + YEAR_SECONDS
    });
    claims.as_object().cloned().unwrap_or_default()
}

/// Installs `token` through the API, as an administrator.
async fn apply(root_url: &str, token: &str) -> anyhow::Result<()> {
    let request = Request::post(format!("{root_url}api/licensing/token"))
        .header("authorization", format!("Basic {}", BASE64_STANDARD.encode("admin:admin")))
        .header("content-type", "application/json")
        .body(json!({"token": token}).to_string())?;
    let answer = client_support::send(request).await.map_err(anyhow::Error::from_boxed)?;
    let body = String::from_utf8_lossy(answer.body());
    ensure!(answer.status().is_success(), "the license was not accepted: {body}");
    Ok(())
}

fn introduce(root_url: &str, metrics: Option<SocketAddr>, files: &Path) {
    println!("\nlicense-gate runs in front of a demo dashboard.\n");
    println!("  open:     {root_url}");
    for user in &DEMO_USERS {
        println!("  sign in:  {} / {}   {}", user.login, user.password, user.role);
    }
    if let Some(address) = metrics {
        println!("  metrics:  http://{address}/metrics");
    }
    println!("  files:    {}\n\nTry:\n", files.display());
    let api = format!("{root_url}api/licensing");
    let json = "-H 'Content-Type: application/json'";
    println!("  curl -u editor:editor {api}/check");
    println!("  curl -u admin:admin {api}/token");
    println!("  curl -u admin:admin {json} -d '{{}}' {api}/token/renew");
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
