//! How long a response stays fresh (RFC 9111 section 4.2). Pure functions.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};

use crate::backoff::share;
use crate::clock::UnixTime;
use crate::outgoing::answer::date;

const MINUTE: Duration = Duration::from_secs(60);
/// Lifetime if the response does not state one.
const USUAL: Duration = Duration::from_secs(60 * 60);
/// Lifetime of `no-cache` and `no-store`: the gate must keep the document, so that it works while the issuer is unreachable.
const UNKEPT: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The stated lifetime of a response received at `at`; `None`: none is stated.
pub(super) fn lifetime(fields: &HeaderMap, at: UnixTime) -> Option<Duration> {
    let lifetime = match cache_control(fields) {
        Some(Directive::Unkept) => return Some(UNKEPT),
        Some(Directive::MaxAge(lifetime)) => lifetime,
        None => {
            let expires = fields.contains_key(EXPIRES).then(|| date(fields, &EXPIRES))?;
            let from = date(fields, &DATE).unwrap_or(at).as_secs();
            // An invalid date counts as expired (section 5.3).
            let until = expires.map_or(0, UnixTime::as_secs);
            Duration::from_secs(until.saturating_sub(from))
        }
    };
    Some(lifetime.saturating_sub(age(fields)))
}

/// The wait until the next fetch: `lifetime`, between a minute and a day, less up to a tenth of it by `fraction` (0 to 1).
pub(super) fn wait(lifetime: Option<Duration>, fraction: f64) -> Duration {
    let wait = lifetime.unwrap_or(USUAL).clamp(MINUTE, LONGEST);
    (wait - share(wait / 10, fraction)).max(MINUTE)
}

/// The directive of `Cache-Control` that counts (section 5.2.2).
enum Directive {
    Unkept,
    MaxAge(Duration),
}

fn cache_control(fields: &HeaderMap) -> Option<Directive> {
    let lines = fields.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let mut max_age = None;
    for directive in lines.flat_map(|line| line.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match &*name.trim().to_ascii_lowercase() {
            // With a value, it applies to single fields only.
            "no-cache" if value.is_empty() => return Some(Directive::Unkept),
            "no-store" => return Some(Directive::Unkept),
            "max-age" if max_age.is_none() => max_age = Some(seconds(value).unwrap_or_default()),
            _ => {}
        }
    }
    max_age.map(Directive::MaxAge)
}

fn age(fields: &HeaderMap) -> Duration {
    let age = fields.get(AGE).and_then(|age| seconds(age.to_str().ok()?));
    age.unwrap_or_default()
}

/// Whole seconds (section 1.2.2). A number that overflows is the largest one.
fn seconds(text: &str) -> Option<Duration> {
    let digits = text.trim().trim_matches('"');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    /// 2027-01-15T08:00:00Z
    const AT: UnixTime = UnixTime::from_secs(1_800_000_000);
    const TEN_PAST: &str = "Fri, 15 Jan 2027 08:10:00 GMT";
    const FIVE_PAST: &str = "Fri, 15 Jan 2027 08:05:00 GMT";

    type Fields = &'static [(&'static str, &'static str)];

    #[test]
    fn lifetimes_and_waits_follow_the_fields_of_the_answer() {
        let cases: [(Fields, Option<u64>, u64); 26] = [
            (&[], None, 3600),
            (&[("cache-control", "public")], None, 3600),
            (&[("cache-control", "max-age=600")], Some(600), 600),
            (&[("cache-control", "public, Max-Age=600, must-revalidate")], Some(600), 600),
            (&[("cache-control", "max-age = \"600\"")], Some(600), 600),
            (&[("cache-control", "public"), ("cache-control", "max-age=600")], Some(600), 600),
            (&[("cache-control", "max-age=600, max-age=9999")], Some(600), 600),
            (&[("cache-control", "s-maxage=10, max-age=600")], Some(600), 600),
            (&[("cache-control", "max-age=600"), ("age", "200")], Some(400), 400),
            (&[("cache-control", "max-age=600"), ("age", "601")], Some(0), 60),
            (&[("cache-control", "max-age=600"), ("age", "old")], Some(600), 600),
            (&[("cache-control", "max-age=0")], Some(0), 60),
            (&[("cache-control", "max-age=59")], Some(59), 60),
            (&[("cache-control", "max-age=86401")], Some(86_401), 86_400),
            (&[("cache-control", "max-age=99999999999999999999")], Some(u64::MAX), 86_400),
            (&[("cache-control", "max-age=soon")], Some(0), 60),
            (&[("cache-control", "max-age=-5")], Some(0), 60),
            (&[("cache-control", "max-age")], Some(0), 60),
            (&[("cache-control", "no-store")], Some(300), 300),
            (&[("cache-control", "no-cache, max-age=600")], Some(300), 300),
            (&[("cache-control", "no-cache=\"set-cookie\", max-age=600")], Some(600), 600),
            (&[("expires", TEN_PAST)], Some(600), 600),
            (&[("expires", TEN_PAST), ("date", FIVE_PAST), ("age", "60")], Some(240), 240),
            (&[("expires", TEN_PAST), ("cache-control", "max-age=120")], Some(120), 120),
            (&[("expires", "Thu, 14 Jan 2027 08:00:00 GMT")], Some(0), 60),
            (&[("expires", "0")], Some(0), 60),
        ];
        for (fields, expected, again) in cases {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(HeaderName::from_static(name), value.parse().expect("a value"));
            }
            let lifetime = lifetime(&map, AT);
            assert_eq!(lifetime, expected.map(Duration::from_secs), "{fields:?}");
            assert_eq!(wait(lifetime, 0.0), Duration::from_secs(again), "{fields:?}");
        }
    }

    #[test]
    fn a_random_fraction_spreads_the_fetches_of_many_gates() {
        let cases = [
            (600, 0.5, 570),
            (600, 1.0, 540),
            (600, 9.0, 540),
            (60, 1.0, 60),
            (62, 1.0, 60),
            (86_400, 1.0, 77_760),
        ];
        for (lifetime, fraction, expected) in cases {
            let wait = wait(Some(Duration::from_secs(lifetime)), fraction);
            assert_eq!(wait.as_secs(), expected, "{lifetime} {fraction}");
        }
    }
}
