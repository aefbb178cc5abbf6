//! What both sides of the gate have of HTTP/2 (RFC 9113) around the codec: the socket of a connection and its PINGs, the two halves of
//! a stream, and what the codec does not pass on.

mod ends;
mod frames;
mod io;
mod pulse;
mod receiving;
mod sending;
mod targets;

use std::time::Duration;

pub use ends::{Ends, Watched};
pub use io::{Follow, Io};
pub use pulse::Pulse;
pub use receiving::Receiving;
pub use sending::{Outgoing, Patience, Sending, Unsent, broken};
pub use targets::Targets;

/// What is known of a stream that was reset is kept for frames that the other end sent before it heard of the reset: they would end the
/// connection. So many streams, for so long.
pub const RESET_STREAMS_KEPT: usize = 1024;
/// See [`RESET_STREAMS_KEPT`].
pub const RESET_STREAM_KEPT: Duration = Duration::from_secs(60);

/// What one stream may have waiting to be sent, beyond what is in the socket.
pub const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;
