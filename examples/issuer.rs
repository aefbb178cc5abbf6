//! A reference issuer that renews licenses over HTTP.
//!
//! `cargo run --example issuer PRIVATE.PEM [ADDRESS]`, 127.0.0.1:8300 when none is given. The key is what
//! `license-gate keys generate` makes; the gate asks `http://ADDRESS/renew` (`renewal.url`). For anything but a try-out,
//! stand it behind TLS: the tokens it is shown are the licenses themselves.
#![allow(clippy::print_stdout, reason = "an example talks to the person who runs it")]

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
    let key = args.next().context("usage: issuer PRIVATE.PEM [ADDRESS]")?;
    let address = args.next().unwrap_or_else(|| "127.0.0.1:8300".to_owned()).parse()?;
    let pem = std::fs::read(&key).with_context(|| key.clone())?;
    http_support::block_on(run(Issuer::new(KeyPair::from_pem(&pem)?), address))?
}

async fn run(issuer: Issuer, address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("issuer: POST http://{}/renew", listener.local_addr()?);
    tokio::select! {
        () = issuer::serve(listener, issuer) => {}
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    Ok(())
}
