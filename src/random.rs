//! Random bytes for ids of this process and its requests. Not for keys.

/// `N` random bytes of the system; zeros if it has none.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::warn!(
            event = "random.none",
            "the system has no random bytes; request ids may repeat those of an earlier run"
        );
    }
    bytes
}

/// A random id of 16 hexadecimal digits.
pub fn name() -> String {
    format!("{:016x}", u64::from_be_bytes(bytes()))
}

/// A number in [0, 1), for jitter between gates.
pub fn fraction() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}
