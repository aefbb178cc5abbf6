//! What HTTP/2 is made of on both sides of the gate, around the codec: its socket, and its pulse.

mod ends;
mod io;
mod pulse;

pub use ends::Ends;
pub use io::Io;
pub use pulse::{Pulse, Rhythm};
