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
//! 8  cli  app  worker
//! 7  config
//! 6  service  admin
//! 5  api  gate  proxy
//! 4  feed  auth
//! 3  notify
//! 2  store
//! 1  license  upstream  downstream
//! 0  backoff  body  certificate  clock  codec  dial  fields  hex  http2  outgoing  path  problem  random  shutdown  socket  sweep  telemetry  text
//! ```

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
pub mod body;
pub mod certificate;
pub mod clock;
pub mod codec;
pub mod dial;
pub mod fields;
pub mod hex;
pub mod http2;
pub mod outgoing;
pub mod path;
pub mod problem;
pub mod random;
pub mod shutdown;
pub mod socket;
pub mod sweep;
pub mod telemetry;
pub mod text;
