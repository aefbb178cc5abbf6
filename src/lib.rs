//! license-gate: a reverse proxy in front of a metrics dashboard that keeps its license.
//!
//! The code tells two stories. A newcomer reads [`service`], then [`store`], top to bottom; every other module is one stage.
//!
//! ```text
//! a request   accept ─ TLS ─ HTTP ─ route ─┬─ licensing API ─────────────┬─ answer
//!             └── downstream/ ──┘  service └─ gate ─ proxy ─ upstream ───┘
//! a license   bytes ─────── verified ─────── persisted ──── swapped ─────── asked about
//!             feed/, api/   license/verify   store/file      store/          api, admin
//! ```
//!
//! A module uses what is below it and nothing beside or above it; `tests/layers.rs` holds them to that:
//!
//! ```text
//! 13  cli
//! 12  app
//! 11  worker
//! 10  config
//! 9   service  admin
//! 8   proxy
//! 7   gate
//! 6   api
//! 5   feed  auth
//! 4   store
//! 3   license  upstream  downstream
//! 2   codec  http2  problem
//! 1   body  certificate  dial  hex  message  path  random  socket  telemetry  shutdown
//! 0   clock  sweep  text
//! ```

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")
)]

// A request's way.
pub mod downstream;
pub mod service;

pub mod api;
pub mod auth;
pub mod gate;
pub mod proxy;
pub mod upstream;

// A license's way.
pub mod feed;
pub mod license;
pub mod store;

// What starts, stops and watches them.
pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod worker;

// What everybody stands on.
pub mod body;
pub mod certificate;
pub mod clock;
pub mod codec;
pub mod dial;
pub mod hex;
pub mod http2;
pub mod message;
pub mod path;
pub mod problem;
pub mod random;
pub mod shutdown;
pub mod socket;
pub mod sweep;
pub mod telemetry;
pub mod text;
