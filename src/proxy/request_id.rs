//! The id of a request, in logs, in errors and towards the dashboard.

use std::cell::Cell;

use http::{HeaderName, HeaderValue};

use crate::message::{Fields, Response};

/// `X-Request-Id`, on the request and on its response.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LENGTH: usize = 32;

/// Longest id that is accepted from a trusted proxy.
const MAX_FOREIGN: usize = 128;

/// A request's id: 32 hexadecimal digits, or the id that a trusted proxy has set.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Sets the id on a response.
    pub fn put_on<B>(self, response: &mut Response<B>) {
        response.headers.set(X_REQUEST_ID, self.0);
    }
}

/// Makes ids for one worker: one half is the worker's, the other a mixed counter. They are unlikely to repeat, but can be guessed.
#[derive(Debug)]
pub struct RequestIds {
    own: [u8; LENGTH / 2],
    count: Cell<u64>,
}

impl RequestIds {
    /// Ids derived from a random `seed`.
    pub fn new(seed: [u8; 16]) -> Self {
        let (own, start) = seed.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        Self { own: digits(number(own)), count: Cell::new(number(start)) }
    }

    /// The id of a request with these fields.
    pub fn name(&self, headers: &Fields, trusted: bool) -> RequestId {
        let foreign = trusted.then(|| headers.get(&X_REQUEST_ID)).flatten();
        let foreign = foreign.filter(|value| is_valid(value));
        let foreign = foreign.and_then(|value| HeaderValue::from_bytes(value).ok());
        foreign.map_or_else(|| self.next(), RequestId)
    }

    fn next(&self) -> RequestId {
        let count = self.count.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.count.set(count);
        let mut id = [0; LENGTH];
        id[..LENGTH / 2].copy_from_slice(&self.own);
        id[LENGTH / 2..].copy_from_slice(&digits(mix(count)));
        // Hexadecimal digits are always a valid value.
        RequestId(HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("-")))
    }
}

fn digits(number: u64) -> [u8; LENGTH / 2] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; LENGTH / 2];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 0xf)];
    }
    digits
}

fn is_valid(value: &[u8]) -> bool {
    (1..=MAX_FOREIGN).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// The finalizer of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_a_valid_one_of_a_trusted_proxy_is_kept() {
        let ids = RequestIds::new([7; 16]);
        let mut headers = Fields::default();
        let (one, two) = (ids.name(&headers, true), ids.name(&headers, true));
        assert_ne!(one.as_str(), two.as_str());
        assert_eq!(one.as_str().len(), LENGTH);
        headers.set(X_REQUEST_ID, HeaderValue::from_static("from-outside"));
        assert_eq!(ids.name(&headers, true).as_str(), "from-outside");
        assert_ne!(ids.name(&headers, false).as_str(), "from-outside");
        headers.set(X_REQUEST_ID, HeaderValue::from_static("two words"));
        assert_ne!(ids.name(&headers, true).as_str(), "two words");
    }
}
