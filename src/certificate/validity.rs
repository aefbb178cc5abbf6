//! Expiry, issuer and signature algorithm of a certificate, read from its DER (RFC 5280 section 4.1). Nothing else is parsed.

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, SliceReader, Tag, TagNumber, Tagged};

use crate::clock::UnixTime;

/// Longest part of a name that is shown.
const MAX_NAME_CHARS: usize = 200;

/// `[0]`, explicit: the version. A certificate of version 1 omits it.
pub(super) const VERSION: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

/// `notAfter` of a certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<UnixTime> {
    let (_, validity) = issuer_and_validity(certificate)?;
    moment(values(validity).nth(1)?)
}

/// The most specific name of the issuer of a certificate, which is usually its common name. It is not trusted text.
pub(super) fn issuer(certificate: &[u8]) -> Option<String> {
    let (name, _) = issuer_and_validity(certificate)?;
    // A sequence of sets of pairs, each an object identifier and a string.
    let sets = values(name).filter_map(|set| expect(Some(set), Tag::Set));
    let pairs = sets.flat_map(values).filter_map(|pair| expect(Some(pair), Tag::Sequence));
    let last = pairs.filter_map(|pair| values(pair).nth(1)).last()?;
    Some(String::from_utf8_lossy(last.value()).chars().take(MAX_NAME_CHARS).collect())
}

fn issuer_and_validity(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = values(expect(values(certificate).next(), Tag::Sequence)?);
    let mut fields = values(expect(fields.next(), Tag::Sequence)?).peekable();
    fields.next_if(|field| field.tag() == VERSION);
    expect(fields.next(), Tag::Integer)?;
    // Signature algorithm.
    expect(fields.next(), Tag::Sequence)?;
    let issuer = expect(fields.next(), Tag::Sequence)?;
    Some((issuer, expect(fields.next(), Tag::Sequence)?))
}

/// The object identifier of `signatureAlgorithm`, as it is encoded.
#[cfg(feature = "postgres")]
pub(super) fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let mut parts = values(expect(values(certificate).next(), Tag::Sequence)?);
    expect(parts.next(), Tag::Sequence)?;
    expect(values(expect(parts.next(), Tag::Sequence)?).next(), Tag::ObjectIdentifier)
}

/// The consecutive values in `der`, up to the first malformed one.
pub(super) fn values(der: &[u8]) -> impl Iterator<Item = AnyRef<'_>> {
    let mut reader = SliceReader::new(der).ok();
    std::iter::from_fn(move || AnyRef::decode(reader.as_mut()?).ok())
}

/// The content of `value` if it has this `tag`.
pub(super) fn expect(value: Option<AnyRef<'_>>, tag: Tag) -> Option<&[u8]> {
    value.filter(|value| value.tag() == tag).map(AnyRef::value)
}

/// A `Time` (RFC 5280 section 4.1.2.5). A time before 1970 counts as 1970.
fn moment(time: AnyRef<'_>) -> Option<UnixTime> {
    let text = time.value();
    let (read, is_earlier) = match time.tag() {
        Tag::UtcTime => {
            let read = time.decode_as::<UtcTime>().map(|time| time.to_unix_duration());
            (read, text.get(..2).is_some_and(|year| (&b"50"[..]..&b"70"[..]).contains(&year)))
        }
        Tag::GeneralizedTime => {
            let read = time.decode_as::<GeneralizedTime>().map(|time| time.to_unix_duration());
            (read, text.get(..4).is_some_and(|year| year < &b"1970"[..]))
        }
        _ => return None,
    };
    let since = read.ok().or_else(|| is_earlier.then_some(std::time::Duration::ZERO))?;
    Some(UnixTime::from_secs(since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_those_before_1970_count_as_1970() {
        let table = [
            (Tag::UtcTime, "700101000000Z", Some(0)),
            (Tag::UtcTime, "000229120000Z", Some(951_825_600)),
            (Tag::UtcTime, "491231235959Z", Some(2_524_607_999)),
            (Tag::UtcTime, "500101000000Z", Some(0)),
            (Tag::GeneralizedTime, "20241231235959Z", Some(1_735_689_599)),
            (Tag::GeneralizedTime, "99991231235959Z", Some(253_402_300_799)),
            (Tag::GeneralizedTime, "19500101000000Z", Some(0)),
            (Tag::GeneralizedTime, "20241301000000Z", None),
            (Tag::GeneralizedTime, "20240101000000", None),
            (Tag::UtcTime, "240101000000", None),
            (Tag::UtcTime, "2401010000+0Z", None),
            (Tag::Integer, "240101000000Z", None),
        ];
        for (tag, text, expected) in table {
            let time = AnyRef::new(tag, text.as_bytes()).expect("short");
            assert_eq!(moment(time), expected.map(UnixTime::from_secs), "{text}");
        }
    }

    #[test]
    fn the_expiry_of_a_certificate_is_read() {
        let ends = [(2030, 1_893_456_000), (2049, 2_493_072_000), (2050, 2_524_608_000)];
        for (year, expected) in ends {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::default();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let made = params.self_signed(&key).expect("a certificate");
            assert_eq!(not_after(made.der()), Some(UnixTime::from_secs(expected)), "{year}");
        }
    }

    #[test]
    fn the_last_name_of_the_issuer_is_read() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example Ltd");
        params.distinguished_name.push(rcgen::DnType::CommonName, "Example Röot");
        let made = params.self_signed(&key).expect("a certificate");
        assert_eq!(issuer(made.der()).as_deref(), Some("Example Röot"));
    }

    proptest::proptest! {
        #[test]
        fn malformed_certificates_do_not_panic(cut in 0..400_usize, at in 0..400_usize, byte: u8) {
            let key = rcgen::KeyPair::generate().expect("a key");
            let made = rcgen::CertificateParams::default().self_signed(&key).expect("made");
            let mut der = made.der().to_vec();
            der.truncate(cut);
            if let Some(changed) = der.get_mut(at) {
                *changed = byte;
            }
            let _ = (not_after(&der), issuer(&der));
        }
    }
}
