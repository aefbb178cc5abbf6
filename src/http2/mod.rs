//! HTTP/2 (RFC 9113) around the `h2` codec, for both sides of the gate: the socket of a connection, keep-alive PINGs, the two halves
//! of a stream, and facts that the codec does not report.

mod ends;
mod frames;
mod io;
mod keep_alive;
mod receiving;
mod sending;
mod targets;

use std::time::Duration;

pub use ends::{Ends, Watched};
pub use io::{Follow, Io};
pub use keep_alive::KeepAlive;
pub use receiving::Receiving;
pub use sending::{Outgoing, SendLimit, Sending, Unsent, broken};
pub use targets::Targets;

/// How many reset streams are remembered per connection, for [`RESET_STREAM_KEPT`]. A frame that the peer sent before it received the
/// reset would otherwise end the connection.
pub const RESET_STREAMS_KEPT: usize = 1024;
/// See [`RESET_STREAMS_KEPT`].
pub const RESET_STREAM_KEPT: Duration = Duration::from_secs(60);

/// Most bytes that one stream may have queued in the codec.
pub const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;
