//! The response to a call: status, fields and body.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::error::Cause;
use crate::clock::UnixTime;

/// Upper limit for `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The response to a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header fields as received.
    pub fields: HeaderMap,
    /// The body of a 200. Empty for every other status, whose body is read only if the call asks for it
    /// ([`super::Call::every_body`]).
    pub body: Bytes,
    /// When the head was received.
    pub at: UnixTime,
}

impl Answer {
    pub(super) async fn read(
        response: Response<Incoming>,
        max_bytes: usize,
        every_body: bool,
        at: UnixTime,
    ) -> Result<Self, Cause> {
        let (head, body) = response.into_parts();
        let (status, fields) = (head.status, head.headers);
        let body = match status {
            StatusCode::OK => collect(body, max_bytes).await?,
            _ if every_body => collect(body, max_bytes).await?,
            _ => Bytes::new(),
        };
        Ok(Self { status, fields, body, at })
    }

    /// The cause for an unexpected status.
    pub(super) fn refusal(&self) -> Cause {
        Cause::Refused { status: self.status, retry_after: self.retry_after() }
    }

    /// `Date` (RFC 9110 section 6.6.1).
    pub fn date(&self) -> Option<UnixTime> {
        date(&self.fields, &DATE)
    }

    /// `Retry-After` (RFC 9110 section 10.2.3), at most a day. A date is taken relative to the response's `Date`.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let wait = match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // A number that overflows is a long time.
            true => text.parse().map_or(LONGEST_WAIT, Duration::from_secs),
            false => {
                let until = date(&self.fields, &RETRY_AFTER)?.as_secs();
                let from = self.date().unwrap_or(self.at).as_secs();
                Duration::from_secs(until.saturating_sub(from))
            }
        };
        Some(wait.min(LONGEST_WAIT))
    }
}

/// The HTTP-date in a field (RFC 9110 section 5.6.7); `None` if the field is absent or malformed.
pub(super) fn date(fields: &HeaderMap, name: &HeaderName) -> Option<UnixTime> {
    let date = httpdate::parse_http_date(fields.get(name)?.to_str().ok()?.trim()).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime::from_secs(since.as_secs()))
}

async fn collect(body: Incoming, max_bytes: usize) -> Result<Bytes, Cause> {
    match Limited::new(body, max_bytes).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Cause::TooLarge(max_bytes)),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(Cause::Http(*error)),
            Err(_) => Err(Cause::TooLarge(max_bytes)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = &'static [(&'static str, &'static str)];

    fn answer(fields: &[(&'static str, &str)]) -> Answer {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().expect("a value"))
        };
        Answer {
            status: StatusCode::SERVICE_UNAVAILABLE,
            fields: fields.iter().map(field).collect(),
            body: Bytes::new(),
            // 2027-01-15T08:00:00Z
            at: UnixTime::from_secs(1_800_000_000),
        }
    }

    #[test]
    fn a_date_is_read_in_all_three_formats() {
        let cases = [
            ("Fri, 15 Jan 2027 08:00:00 GMT", Some(1_800_000_000)),
            ("Friday, 15-Jan-27 08:00:00 GMT", Some(1_800_000_000)),
            ("Fri Jan 15 08:00:00 2027", Some(1_800_000_000)),
            ("2027-01-15T08:00:00Z", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let date = answer(&[("date", text)]).date();
            assert_eq!(date, expected.map(UnixTime::from_secs), "{text}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let day = 86_400;
        let cases: [(Fields, Option<u64>); 10] = [
            (&[], None),
            (&[("retry-after", "0")], Some(0)),
            (&[("retry-after", " 120 ")], Some(120)),
            (&[("retry-after", "86401")], Some(day)),
            (&[("retry-after", "99999999999999999999999")], Some(day)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "Fri, 15 Jan 2027 08:05:00 GMT")], Some(300)),
            (&[("retry-after", "Fri, 15 Jan 2027 07:55:00 GMT")], Some(0)),
            (
                // The peer's clock is an hour ahead: the difference between its two dates counts.
                &[
                    ("date", "Fri, 15 Jan 2027 09:00:00 GMT"),
                    ("retry-after", "Fri, 15 Jan 2027 09:00:30 GMT"),
                ],
                Some(30),
            ),
        ];
        for (fields, expected) in cases {
            let wait = answer(fields).retry_after();
            assert_eq!(wait, expected.map(Duration::from_secs), "{fields:?}");
        }
    }
}
