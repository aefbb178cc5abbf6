//! license-gate: a reverse proxy in front of a metrics dashboard that manages the dashboard's license.
//!
//! The code has two main paths. To learn it, read [`service`], then [`store`], from top to bottom; each other module is one stage.
//!
//! ```text
//! a request   accept ─ TLS ─ HTTP ─ route ─┬─ licensing API ─────────────┬─ answer
//!             └── downstream/ ──┘  service └─ gate ─ proxy ─ upstream ───┘
//! a license   bytes ─────── verified ─────── persisted ────── swapped ───── asked about
//!             feed/, api/   license/verify   store/backend    store/held    api, admin
//! ```
//!
//! A module uses only modules in lower rows; `tests/layers.rs` checks that:
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

// The path of a request.
pub mod downstream;
pub mod service;

pub mod api;
pub mod auth;
pub mod gate;
pub mod proxy;
pub mod upstream;

// The path of a license.
pub mod feed;
pub mod license;
pub mod notify;
pub mod store;

// Start, stop, configuration and monitoring.
pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod worker;

// Used by the modules above.
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
