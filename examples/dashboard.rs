//! A demo dashboard to stand the gate in front of.
//!
//! `cargo run --example dashboard [ADDRESS]`, 127.0.0.1:3000 when none is given. Users `admin`, `editor`, `viewer`; each
//! one's password is its name.
#![allow(clippy::print_stdout, reason = "an example talks to the person who runs it")]
#![allow(clippy::disallowed_methods, reason = "tasks end with the runtime of the example")]

#[path = "support/dashboard/mod.rs"]
mod dashboard;
#[path = "support/http.rs"]
mod http_support;

use std::net::SocketAddr;

use dashboard::users::DEMO_USERS;
use tokio::net::TcpListener;

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    http_support::block_on(run(address.parse()?))?
}

async fn run(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("dashboard: http://{}/", listener.local_addr()?);
    for user in &DEMO_USERS {
        println!("  {} / {} ({})", user.login, user.password, user.role);
    }
    tokio::select! {
        () = dashboard::serve(listener) => {}
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    Ok(())
}
