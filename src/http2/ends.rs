//! Records END_STREAM of watched streams, read from the frames as they arrive (RFC 9113 section 4.1).
//!
//! If a connection breaks while the other half of a stream is open, the codec forgets that the peer had ended its half (h2 0.4.20:
//! `State::handle_error` and `recv_eof` overwrite the state). A complete response would then be reported as cut. Clones share the
//! record. Only the head of each frame is read.

use std::cell::RefCell;
use std::rc::Rc;

use super::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Piece};
use super::io::Follow;

/// The ended streams of one connection.
#[derive(Clone, Debug, Default)]
pub struct Ends(Rc<RefCell<Record>>);

#[derive(Debug, Default)]
struct Record {
    frames: Frames,
    /// The stream that ends when the current field block is complete.
    ending: Option<u32>,
    /// Watched streams, and whether each has ended.
    watched: Vec<(u32, bool)>,
}

impl Ends {
    /// Watches `stream` from now on.
    pub fn watch(&self, stream: u32) -> Watched {
        self.0.borrow_mut().watched.push((stream, false));
        Watched { ends: self.clone(), stream }
    }
}

/// A stream that is watched until this is dropped.
#[derive(Debug)]
pub struct Watched {
    ends: Ends,
    stream: u32,
}

impl Watched {
    /// Whether the peer has ended it.
    pub fn has_ended(&self) -> bool {
        self.ends.0.borrow().watched.contains(&(self.stream, true))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.ends.0.borrow_mut().watched.retain(|(watched, _)| *watched != self.stream);
    }
}

impl Follow for Ends {
    fn follow(&self, mut bytes: &[u8]) {
        let record = &mut *self.0.borrow_mut();
        while let Some(piece) = record.frames.next(&mut bytes) {
            if piece.left == 0 {
                record.complete(&piece);
            }
        }
    }
}

impl Record {
    /// A frame is complete. Its stream ends with it, or with the last frame of its field block.
    fn complete(&mut self, &Piece { kind, flags, stream, .. }: &Piece<'_>) {
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            self.ending = Some(stream);
        }
        if matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0 {
            return;
        }
        let Some(stream) = self.ending.take() else { return };
        let watched = self.watched.iter_mut().find(|(watched, _)| *watched == stream);
        if let Some((_, ended)) = watched {
            *ended = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn an_end_is_seen_wherever_the_bytes_are_cut() {
        let bytes = [
            frame(4, 1, 0, &[]),
            frame(HEADERS, 4, 1, b"head"),
            frame(DATA, 0, 1, &[1; 40]),
            frame(DATA, 0, 3, &frame(DATA, END_STREAM, 5, b"looks like one")),
            frame(DATA, END_STREAM, 1, &[]),
            frame(3, END_STREAM, 3, &[0; 4]),
        ]
        .concat();
        for cut in 0..bytes.len() {
            let ends = Ends::default();
            let watched = [1, 3, 5].map(|stream| ends.watch(stream));
            ends.follow(&bytes[..cut]);
            ends.follow(&bytes[cut..]);
            assert_eq!(watched.each_ref().map(Watched::has_ended), [true, false, false]);
            drop(watched);
            assert!(ends.0.borrow().watched.is_empty());
        }
    }

    #[test]
    fn an_incomplete_frame_ends_nothing() {
        let last = frame(DATA, END_STREAM, 1, b"the last bytes");
        let block =
            [frame(HEADERS, END_STREAM, 1, b"fie"), frame(CONTINUATION, END_HEADERS, 1, b"lds")];
        for bytes in [last, frame(DATA, END_STREAM, 1, &[]), block.concat()] {
            let ends = Ends::default();
            let watched = ends.watch(1);
            ends.follow(&bytes[..bytes.len() - 1]);
            assert!(!watched.has_ended());
            ends.follow(&bytes[bytes.len() - 1..]);
            assert!(watched.has_ended());
        }
    }
}
