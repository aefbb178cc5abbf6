//! license-gate: a reverse proxy in front of a metrics dashboard that keeps its license.
//!
//! The code tells two stories. A newcomer reads [`service`], then [`store`], top to bottom; every other module is one stage.
//!
//! ```text
//! a request   accept ─ TLS ─ HTTP ─ route ─┬─ licensing API ─────────────┬─ answer
//!             └── downstream/ ──┘  service └─ gate ─ proxy ─ upstream ───┘
//! a license   bytes ─────── verified ─────── persisted ────── swapped ───── asked about
//!             feed/, api/   license/verify   store/backend    store/held    api, admin
//! ```
//!
//! A module uses what is below it and nothing beside or above it; `tests/layers.rs` holds them to that:
//!
//! ```text
//! 14  cli
//! 13  app
//! 12  worker
//! 11  config
//! 10  service  admin
//! 9   proxy
//! 8   gate
//! 7   api
//! 6   feed  auth
//! 5   notify
//! 4   store
//! 3   license  upstream  downstream
//! 2   codec  http2  outgoing  problem
//! 1   certificate  dial  message  path  random  socket  telemetry  shutdown
//! 0   backoff  clock  sweep  text
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
pub mod notify;
pub mod store;

// What starts, stops and watches them.
pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod worker;

// What everybody stands on.
pub mod backoff;
pub mod certificate;
pub mod clock;
pub mod codec;
pub mod dial;
pub mod http2;
pub mod message;
pub mod outgoing;
pub mod path;
pub mod problem;
pub mod random;
pub mod shutdown;
pub mod socket;
pub mod sweep;
pub mod telemetry;
pub mod text;
