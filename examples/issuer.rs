//! A reference issuer: renews licenses over HTTP, and publishes its keys and its revocation list.
//!
//! `cargo run --example issuer PRIVATE.PEM [ADDRESS [REVOCATIONS]]`; the default address is 127.0.0.1:8300. The key comes
//! from `license-gate keys generate`, the list from `license-gate license revoke`. Gates call `http://ADDRESS/renew`
//! (`renewal.url`), `/jwks.json` (`license.jwks_url`) and `/revocations` (`license.revocations`). In production, put TLS in
//! front of it: the tokens in the requests are the licenses themselves.
#![allow(clippy::print_stdout, reason = "an example prints to the terminal")]
#![allow(clippy::disallowed_methods, reason = "tasks end with the runtime of the example")]

#[path = "support/http.rs"]
mod http_support;
#[path = "support/issuer.rs"]
mod issuer;

use std::net::SocketAddr;

use anyhow::Context as _;
use issuer::Issuer;
use license_gate::license::KeyPair;
use tokio::net::TcpListener;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let key = args.next().context("usage: issuer PRIVATE.PEM [ADDRESS [REVOCATIONS]]")?;
    let address = args.next().unwrap_or_else(|| "127.0.0.1:8300".to_owned()).parse()?;
    let pem = std::fs::read(&key).with_context(|| key.clone())?;
    let mut issuer = Issuer::new(KeyPair::from_pem(&pem)?);
    if let Some(list) = args.next() {
        issuer = issuer.revoking(list.into());
    }
    http_support::block_on(run(issuer, address))?
}

async fn run(issuer: Issuer, address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    println!("issuer: POST http://{address}/renew, GET /jwks.json, GET /revocations");
    tokio::select! {
        () = issuer::serve(listener, issuer) => {}
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    Ok(())
}
