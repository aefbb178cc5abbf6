//! Splits received bytes into frames, independently of the codec (RFC 9113 section 4.1). The bytes may be cut anywhere.

const HEAD_BYTES: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// The frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes of the preface still to skip.
    skip: usize,
    /// The current frame: the first `known` bytes of its head, and `left` bytes of its payload to come.
    head: [u8; HEAD_BYTES],
    known: usize,
    left: usize,
}

/// A frame with a piece of its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
    /// Bytes of the payload still to come.
    pub(super) left: usize,
}

impl Frames {
    /// Frames that begin after `skip` bytes.
    pub(super) fn behind(skip: usize) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Takes the next piece off `bytes`; `None` if they are used up. A frame without a payload is one empty piece.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Piece<'a>> {
        self.skip -= take(bytes, self.skip).len();
        if bytes.is_empty() {
            return None;
        }
        if self.known < HEAD_BYTES {
            let more = take(bytes, HEAD_BYTES - self.known);
            self.head[self.known..][..more.len()].copy_from_slice(more);
            self.known += more.len();
            if self.known < HEAD_BYTES {
                return None;
            }
            let [a, b, c, ..] = self.head;
            self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        }
        let [_, _, _, kind, flags, stream @ ..] = self.head;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        let payload = take(bytes, self.left);
        self.left -= payload.len();
        if self.left == 0 {
            self.known = 0;
        }
        Some(Piece { kind, flags, stream, payload, left: self.left })
    }
}

/// Takes at most `most` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, behind) = bytes.split_at(most.min(bytes.len()));
    *bytes = behind;
    taken
}
