//! Building blocks for the tests.

pub(crate) mod authority;
pub(crate) mod dashboard;
pub(crate) mod gate;
pub(crate) mod h2;
pub(crate) mod hang;
pub(crate) mod hpack;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod message;
pub(crate) mod origin;
#[path = "../../fuzz/pieces.rs"]
pub(crate) mod pieces;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod receiver;
pub(crate) mod scene;
#[path = "../../fuzz/spoil.rs"]
pub(crate) mod spoil;
pub(crate) mod timed;
pub(crate) mod two;
pub(crate) mod vendor;
pub(crate) mod wire;
