//! Readers: what a key's value means. Each takes a [`Value`](super::value::Value) and gives the typed setting, or a fault.

pub(super) mod address;
pub(super) mod quantity;
pub(super) mod text;
pub(super) mod users;
