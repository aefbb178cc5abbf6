//! The frames of a WebSocket in one direction (RFC 6455 section 5.2), followed without reading their payloads.
//!
//! A tunnel follows its frames from the first byte, because a boundary between frames cannot be found later. Within a payload this
//! costs one subtraction for each read.

/// Status 1001, "going away" (RFC 6455 section 7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CLOSE: u8 = 8;

/// The longest head without the masking key, which counts as payload here.
const HEAD_BYTES: usize = 10;

/// A position in a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes of the current frame that are still to come.
    left: u64,
    /// The first `known` bytes of an incomplete head.
    head: [u8; HEAD_BYTES],
    known: usize,
    /// A message was begun, and its last fragment has not begun yet.
    is_fragmented: bool,
    /// The current or last frame is a Close.
    is_close: bool,
}

impl Frames {
    /// Moves on by `bytes`.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.advance(bytes)..];
        }
    }

    /// Moves on to the end of the current frame, at most to the end of `bytes`, which are not empty. Returns the number of bytes.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.left == 0 {
            while !self.takes(bytes[at]) {
                at += 1;
                if at == bytes.len() {
                    return at;
                }
            }
            at += 1;
        }
        let rest = bytes.len() - at;
        let skipped = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
        self.left -= skipped as u64;
        at + skipped
    }

    /// Takes a byte of a head. Returns whether the head is complete.
    fn takes(&mut self, byte: u8) -> bool {
        self.head[self.known] = byte;
        self.known += 1;
        let [first, second, extended @ ..] = self.head;
        let payload = match (self.known, second & !MASKED) {
            (1, _) => return false,
            (2, 126 | 127) => return false,
            (4, 126) => u64::from(u16::from_be_bytes([extended[0], extended[1]])),
            (HEAD_BYTES, _) => u64::from_be_bytes(extended),
            (_, 126 | 127) => return false,
            (_, short) => u64::from(short),
        };
        self.known = 0;
        self.left = payload.saturating_add(if second & MASKED == 0 { 0 } else { 4 });
        self.is_close = first & 0x0f == CLOSE;
        if first & 0x0f < CLOSE {
            self.is_fragmented = first & FIN == 0;
        }
        true
    }

    /// Whether a control frame may follow here.
    pub(super) fn is_between_frames(&self) -> bool {
        self.left == 0 && self.known == 0
    }

    /// The same, and no message would be cut.
    pub(super) fn is_between_messages(&self) -> bool {
        self.is_between_frames() && !self.is_fragmented
    }

    /// Whether a Close was the last frame. Nothing may follow it.
    pub(super) fn has_closed(&self) -> bool {
        self.is_close && self.is_between_frames()
    }
}

/// A Close with status 1001, as servers send it.
pub(super) fn close_from_server() -> [u8; 4] {
    let [high, low] = GOING_AWAY;
    [FIN | CLOSE, 2, high, low]
}

/// A Close with status 1001, as clients send it: masked, with a new key.
pub(super) fn close_from_client() -> [u8; 8] {
    let ([high, low], [a, b, c, d]) = (GOING_AWAY, crate::random::bytes());
    [FIN | CLOSE, MASKED | 2, a, b, c, d, high ^ a, low ^ b]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with `payload`.
    fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut out = vec![first];
        match payload.len() {
            short @ 0..126 => out.push(mask | u8::try_from(short).expect("short")),
            medium @ 126..0x1_0000 => {
                out.push(mask | 126);
                out.extend(u16::try_from(medium).expect("medium").to_be_bytes());
            }
            long => {
                out.push(mask | 127);
                out.extend((long as u64).to_be_bytes());
            }
        }
        out.extend(&[7; 4][..if masked { 4 } else { 0 }]);
        out.extend(payload);
        out
    }

    #[test]
    fn boundaries_are_found_wherever_the_bytes_are_cut() {
        for masked in [false, true] {
            let frames = [
                (frame(0x82, masked, b""), true),
                (frame(0x81, masked, b"text"), true),
                // A fragmented message with a PING between its fragments.
                (frame(0x02, masked, &[0x88; 300]), false),
                (frame(0x89, masked, b"ping"), false),
                (frame(0x00, masked, b""), false),
                (frame(0x80, masked, b"end"), true),
                (frame(0xc2, masked, &[0x88; 70_000]), true),
                (frame(0x88, masked, b"\x03\xe9"), true),
            ];
            let bytes: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.clone()).collect();
            let mut ends = Vec::new();
            for (frame, whole) in &frames {
                ends.push((ends.last().map_or(0, |(end, _)| *end) + frame.len(), *whole));
            }
            for cut in (0..2_000).chain(bytes.len() - 100..=bytes.len()) {
                let mut position = Frames::default();
                position.follow(&bytes[..cut]);
                let end = ends.iter().find(|(end, _)| *end == cut);
                assert_eq!(position.is_between_frames(), cut == 0 || end.is_some(), "{cut}");
                let whole = cut == 0 || end.is_some_and(|(_, whole)| *whole);
                assert_eq!(position.is_between_messages(), whole, "{cut}");
                assert_eq!(position.has_closed(), cut == bytes.len(), "{cut}");
                position.follow(&bytes[cut..]);
                assert!(position.has_closed());
            }
            // One frame at a time.
            let (mut position, mut at) = (Frames::default(), 0);
            for (end, _) in ends {
                at += position.advance(&bytes[at..]);
                assert_eq!(at, end);
            }
        }
    }

    #[test]
    fn a_length_that_no_message_has_is_no_overflow() {
        let mut position = Frames::default();
        position.follow(&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4, 5]);
        assert!(!position.is_between_frames());
    }

    #[test]
    fn both_closes_have_status_1001() {
        assert_eq!(close_from_server(), [0x88, 2, 0x03, 0xe9]);
        let [first, second, a, b, _, _, high, low] = close_from_client();
        assert_eq!([first, second, high ^ a, low ^ b], [0x88, 0x82, 0x03, 0xe9]);
    }
}
