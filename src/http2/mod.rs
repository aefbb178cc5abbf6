//! What HTTP/2 is made of on both sides of the gate, around the codec: its socket, its pulse, and what the
//! codec does not pass on.

mod ends;
mod io;
mod pulse;
mod targets;

pub use ends::Ends;
pub use io::Io;
pub use pulse::{Pulse, Rhythm};
pub use targets::Targets;
