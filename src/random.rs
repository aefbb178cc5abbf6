//! Random bytes for names: of this process, of its requests. Keys are made where they are used.

/// `N` bytes of the system's randomness; zeros, which still make a name, should the system have none.
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

/// 16 hexadecimal digits.
pub fn name() -> String {
    format!("{:016x}", u64::from_be_bytes(bytes()))
}

/// A number from 0 up to, and not, 1, by which waits differ from one gate to the next.
pub fn fraction() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}
