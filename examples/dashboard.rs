//! A demo dashboard to run behind the gate.
//!
//! `cargo run --example dashboard [ADDRESS]`; the default address is 127.0.0.1:3000. The users are `admin`, `editor` and
//! `viewer`, each with its name as password.
#![allow(clippy::print_stdout, reason = "an example prints to the terminal")]
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
