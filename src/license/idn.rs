//! A host name with non-ASCII letters in the ASCII form of DNS: `müller.example` is `xn--mller-kva.example`.
//!
//! Used in error messages only, never to resolve or compare a host. Punycode is RFC 3492. Before it, letters are mapped to lower
//! case only; a host that needs more (combining marks, compatibility forms) is not converted.

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 0x80;

/// `host` in ASCII; `None`: it needs more mapping than lower case.
pub fn ascii_host(host: &str) -> Option<String> {
    let lower = host.to_lowercase();
    let labels = lower.split('.').map(|label| match label.is_ascii() {
        true => Some(label.to_owned()),
        false if label.chars().all(is_certain) => Some(format!("xn--{}", punycode(label)?)),
        false => None,
    });
    labels.collect::<Option<Vec<_>>>().map(|labels| labels.join("."))
}

/// Whether `character` needs no mapping.
fn is_certain(character: char) -> bool {
    let combines = matches!(character, '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}');
    let is_form = matches!(character, '\u{f900}'..='\u{faff}' | '\u{fb00}'..='\u{fdff}' | '\u{fe70}'..='\u{ffef}');
    let plain = character.is_ascii_lowercase()
        || character.is_ascii_digit()
        || matches!(character, '-' | '*');
    plain || (!character.is_ascii() && character.is_alphanumeric() && !combines && !is_form)
}

/// RFC 3492 section 6.3.
fn punycode(label: &str) -> Option<String> {
    let points: Vec<u32> = label.chars().map(u32::from).collect();
    let mut written: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(written.len()).ok()?;
    let length = u32::try_from(points.len()).ok()?;
    if basic > 0 {
        written.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0_u32, INITIAL_BIAS, basic);
    while handled < length {
        let next = points.iter().copied().filter(|point| *point >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for &point in &points {
            if point < n {
                delta = delta.checked_add(1)?;
            }
            if point == n {
                write_integer(delta, bias, &mut written);
                bias = adapted(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(written)
}

fn write_integer(mut number: u32, bias: u32, written: &mut String) {
    for k in (1..).map(|step| step * BASE) {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if number < threshold {
            break;
        }
        written.extend(digit(threshold + (number - threshold) % (BASE - threshold)));
        number = (number - threshold) / (BASE - threshold);
    }
    written.extend(digit(number));
}

/// `a` to `z` are 0 to 25, `0` to `9` are 26 to 35.
fn digit(value: u32) -> Option<char> {
    if value < 26 {
        char::from_u32(u32::from(b'a') + value)
    } else {
        char::from_digit(value - 26, 10)
    }
}

/// RFC 3492 section 6.1.
fn adapted(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_converted_to_ascii() {
        let table = [
            ("müller.example", Some("xn--mller-kva.example")),
            ("MÜNCHEN.Example", Some("xn--mnchen-3ya.example")),
            ("grafana.straße.example", Some("grafana.xn--strae-oqa.example")),
            ("bücher.bücher.example", Some("xn--bcher-kva.xn--bcher-kva.example")),
            ("пример.испытание", Some("xn--e1afmkfd.xn--80akhbyknj4f")),
            ("例え.テスト", Some("xn--r8jz45g.xn--zckzah")),
            ("παράδειγμα.δοκιμή", Some("xn--hxajbheg2az3al.xn--jxalpdlp")),
            ("他们为什么不说中文", Some("xn--ihqwcrb4cv8a8dqg056pqjye")),
            ("*.müller.example", Some("*.xn--mller-kva.example")),
            ("mu\u{308}ller.example", None),
            ("ｍ.example", None),
            ("mül ler", None),
            ("mü\u{200d}", None),
        ];
        for (host, expected) in table {
            assert_eq!(ascii_host(host).as_deref(), expected, "{host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_result_is_ascii(host: String) {
            proptest::prop_assert!(ascii_host(&host).is_none_or(|host| host.is_ascii()));
        }
    }
}
