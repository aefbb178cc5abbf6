//! Bytes as hexadecimal digits, two small letters a byte.

/// The digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!((hex(&[]), hex(&[0, 0x0a, 0xff])), (String::new(), "000aff".to_owned()));
    }
}
