//! The end of a certificate and how it was signed, out of its DER (RFC 5280 section 4.1): nothing else is looked at.

use crate::clock::UnixTime;

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, explicit: the version, left out by certificates of version 1.
pub(super) const VERSION: u8 = 0xa0;

/// `notAfter` of a certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<UnixTime> {
    let certificate = Der(certificate).expect(SEQUENCE)?;
    let mut fields = Der(Der(certificate).expect(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.next()?;
    }
    fields.expect(INTEGER)?;
    // The algorithm, the issuer.
    fields.expect(SEQUENCE)?;
    fields.expect(SEQUENCE)?;
    let mut validity = Der(fields.expect(SEQUENCE)?);
    validity.next()?;
    match validity.next()? {
        (UTC_TIME, text) => moment(century(text)?, text.get(2..)?),
        (GENERALIZED_TIME, text) => moment(number(text.get(..4)?)?, text.get(4..)?),
        _ => None,
    }
}

/// The object identifier of `signatureAlgorithm`, as it is encoded.
#[cfg(feature = "postgres")]
pub(super) fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let mut parts = Der(Der(certificate).expect(SEQUENCE)?);
    parts.expect(SEQUENCE)?;
    Der(parts.expect(SEQUENCE)?).expect(OBJECT_IDENTIFIER)
}

/// Values of DER one behind the other.
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    /// The next value and its tag.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

/// Two digits of a year stand for 1950 to 2049.
fn century(text: &[u8]) -> Option<u64> {
    let year = number(text.get(..2)?)?;
    Some(if year < 50 { 2000 + year } else { 1900 + year })
}

/// `MMDDHHMMSSZ` in `year`.
fn moment(year: u64, text: &[u8]) -> Option<UnixTime> {
    let text = text.strip_suffix(b"Z").filter(|text| text.len() == 10)?;
    let mut parts = text.chunks(2).map(number);
    let mut next = || parts.next().flatten();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if year < 1970 {
        return Some(UnixTime::from_secs(0));
    }
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(UnixTime::from_secs(days(year, month, day) * 86_400 + seconds))
}

/// Days from 1970-01-01, with years that begin in March so that the odd day comes last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let whole_years = year * 365 + year / 4 - year / 100 + year / 400;
    // From 0000-03-01 to 1970-01-01.
    whole_years + (month * 153 + 2) / 5 + day - 1 - 719_468
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_1970() {
        let table: [(u64, &str, Option<u64>); 9] = [
            (1970, "0101000000Z", Some(0)),
            (2000, "0229120000Z", Some(951_825_600)),
            (2024, "1231235959Z", Some(1_735_689_599)),
            (2049, "1231235959Z", Some(2_524_607_999)),
            (9999, "1231235959Z", Some(253_402_300_799)),
            (1950, "0101000000Z", Some(0)),
            (2024, "1301000000Z", None),
            (2024, "0101000000", None),
            (2024, "01010000+0Z", None),
        ];
        for (year, text, expected) in table {
            let expected = expected.map(UnixTime::from_secs);
            assert_eq!(moment(year, text.as_bytes()), expected, "{year} {text}");
        }
        assert_eq!((century(b"49"), century(b"50")), (Some(2049), Some(1950)));
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        let ends = [(2030, 1_893_456_000), (2049, 2_493_072_000), (2050, 2_524_608_000)];
        for (year, expected) in ends {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::default();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let made = params.self_signed(&key).expect("a certificate");
            assert_eq!(not_after(made.der()), Some(UnixTime::from_secs(expected)), "{year}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_certificate_is_too_broken(cut in 0..400_usize, at in 0..400_usize, byte: u8) {
            let key = rcgen::KeyPair::generate().expect("a key");
            let made = rcgen::CertificateParams::default().self_signed(&key).expect("made");
            let mut der = made.der().to_vec();
            der.truncate(cut);
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let _ = not_after(&der);
        }
    }
}
