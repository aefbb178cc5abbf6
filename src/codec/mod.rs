//! HTTP/1.1 messages as bytes (RFC 9112): what the client's side and the dashboard's side of the gate have in common.
//!
//! [`head_end`] finds a head, [`Decoder`] takes a body apart, [`Encoder`] puts one together; [`Input`] and [`Output`] are the
//! buffers between them and a socket. Nothing here knows requests from answers, and nothing here waits on its own.

mod decoder;
mod encoder;
mod head;
mod input;
mod output;

pub use decoder::{BodyLength, Decoder, FramingError, Step, chunk_size};
pub use encoder::{Coding, Encoder, Failed};
pub use head::{HeadError, head_end, write_field, write_number};
pub use input::Input;
pub use output::Output;
