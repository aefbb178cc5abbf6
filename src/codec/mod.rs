//! HTTP/1.1 messages as bytes (RFC 9112), for both the client side and the dashboard side.
//!
//! [`head_end`] finds the end of a head, [`Decoder`] reads a body, [`Encoder`] writes one. [`Input`] and [`Output`] are the
//! buffers between them and a socket. Requests and responses are treated alike. Nothing here has timers.

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
