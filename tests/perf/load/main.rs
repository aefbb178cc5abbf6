//! What `tests/perf/compare` and `tests/perf/soak` need and Debian does not have: the origin, and two load generators.
//!
//! `origin` answers from memory, at a lower cost than any proxy, and echoes WebSockets. `once` opens a connection for
//! every request, with a full TLS handshake if configured. `echo` plays ping-pong over WebSockets. A load ends after a number
//! of requests or seconds, fails on any unexpected response, and prints the number of completed requests. Each runs on
//! one thread.
#![allow(clippy::print_stdout, reason = "its answer is what it prints")]
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

mod echo;
mod once;
mod origin;
mod pace;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use pace::Pace;

/// Without a command (as started by `cargo test --benches`), it does nothing.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The flag that `cargo bench` adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serves /1k, /10m, /upload, /head (returns the request's head), /api/user, /events and /ws until it is killed.
    Origin { listen: SocketAddr },
    /// Sends each GET on a new connection.
    Once {
        target: SocketAddr,
        #[arg(long, default_value = "/1k")]
        path: String,
        /// Uses TLS 1.3 with a full handshake each time. The certificate of the server.
        #[arg(long)]
        tls: Option<PathBuf>,
        #[command(flatten)]
        pace: Pace,
    },
    /// Sends messages of 125 bytes, each after the echo of the one before.
    Echo {
        target: SocketAddr,
        #[command(flatten)]
        pace: Pace,
    },
}

fn main() -> anyhow::Result<()> {
    let Some(command) = Arguments::parse().command else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    match command {
        Command::Origin { listen } => tasks.block_on(&runtime, origin::serve(listen)),
        Command::Once { target, path, tls, pace } => {
            report(tasks.block_on(&runtime, once::load(target, path, tls, pace)))
        }
        Command::Echo { target, pace } => {
            report(tasks.block_on(&runtime, echo::load(target, pace)))
        }
    }
}

fn report(completed: anyhow::Result<u64>) -> anyhow::Result<()> {
    println!("{} requests", completed?);
    Ok(())
}
