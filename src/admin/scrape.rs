//! `GET /metrics`: in the format that `Accept` asks for, compressed if `Accept-Encoding` asks for it.
//!
//! The text format 0.0.4 is the default, so that a browser shows it and every Prometheus reads it; OpenMetrics 1.0 is for those
//! that name it. Rendered on the thread of the admin listener, which forwards nothing.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::Full;

use crate::telemetry::metrics::Exposition;

/// What the client of a scrape takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    exposition: Exposition,
    gzip: bool,
}

/// The response to a scrape with these fields, of metrics as [`Metrics::render`](crate::telemetry::metrics::Metrics::render)
/// writes them.
pub(super) fn answer(fields: &HeaderMap, open_metrics: String) -> Response<Full<Bytes>> {
    let wanted = Wanted::of(fields);
    let mut response = Response::new(Full::new(wanted.body(open_metrics)));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(wanted.exposition.content_type());
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if wanted.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

impl Wanted {
    fn of(fields: &HeaderMap) -> Self {
        let accepted = Weighted::of(fields, &ACCEPT);
        let named = accepted.quality("application/openmetrics-text");
        let open_metrics = named.or_else(|| accepted.quality_of_any("application/*"));
        let plain = accepted.quality("text/plain").or_else(|| accepted.quality_of_any("text/*"));
        let (open_metrics, plain) = (open_metrics.unwrap_or(0), plain.unwrap_or(0));
        // Without a preference, who names OpenMetrics gets it.
        let exposition = match open_metrics > plain || (named == Some(plain) && plain > 0) {
            true => Exposition::OpenMetrics,
            false => Exposition::Text,
        };
        let codings = Weighted::of(fields, &ACCEPT_ENCODING);
        let gzip = codings.quality("gzip").or_else(|| codings.quality("*")).unwrap_or(0);
        let gzip = gzip > 0 && gzip >= codings.quality("identity").unwrap_or(0);
        Self { exposition, gzip }
    }

    /// `open_metrics` in this format and coding.
    fn body(self, open_metrics: String) -> Bytes {
        let text = self.exposition.write(open_metrics);
        if !self.gzip {
            return text.into();
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
        // Writing to memory cannot fail.
        let _ = encoder.write_all(text.as_bytes());
        encoder.finish().unwrap_or_default().into()
    }
}

/// The entries of a list with weights (RFC 9110 section 12.4.2), weights in thousandths.
struct Weighted(Vec<(String, u16)>);

impl Weighted {
    fn of(fields: &HeaderMap, name: &HeaderName) -> Self {
        let lines = fields.get_all(name).iter().filter_map(|line| line.to_str().ok());
        let entries = lines.flat_map(|line| line.split(','));
        Self(entries.filter_map(entry).collect())
    }

    /// The weight of an entry, if there is one; of several, the highest.
    fn quality(&self, name: &str) -> Option<u16> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, quality)| *quality).max()
    }

    /// The weight of a media range, or of the one that stands for all types.
    fn quality_of_any(&self, range: &str) -> Option<u16> {
        self.quality(range).or_else(|| self.quality("*/*"))
    }
}

/// The name and weight of one entry. Another version of a format is another format.
fn entry(entry: &str) -> Option<(String, u16)> {
    let mut parts = entry.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    let mut weight = 1000;
    for part in parts {
        let Some((key, value)) = part.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match (&*name, key.trim().to_ascii_lowercase().as_str()) {
            (_, "q") => weight = thousandths(value),
            ("application/openmetrics-text", "version") if value != "1.0.0" => return None,
            ("text/plain", "version") if value != "0.0.4" => return None,
            _ => {}
        }
    }
    Some((name, weight))
}

/// A weight from 0 to 1 in thousandths; 0 if it is malformed.
fn thousandths(text: &str) -> u16 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_number = rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "1" if is_number => 1000,
        "0" if is_number => format!("{rest:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &[&str], encoding: &str) -> Wanted {
        let mut fields = HeaderMap::new();
        for line in accept {
            fields.append(ACCEPT, line.parse().expect("a value"));
        }
        fields.insert(ACCEPT_ENCODING, encoding.parse().expect("a value"));
        Wanted::of(&fields)
    }

    #[test]
    fn the_format_is_the_one_with_the_greatest_weight() {
        use Exposition::{OpenMetrics, Text};
        let cases: [(&[&str], Exposition); 20] = [
            (&[], Text),
            (&["*/*"], Text),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Text),
            // Prometheus 2.42 and 3.
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                OpenMetrics,
            ),
            (
                &[
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ],
                OpenMetrics,
            ),
            (&["text/plain;version=0.0.4;q=1,*/*;q=0.1"], Text),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.3"], OpenMetrics),
            (&["application/openmetrics-text;version=0.0.1"], Text),
            (&["application/openmetrics-text;version=2.0.0, */*;q=0.1"], Text),
            (&["application/openmetrics-text;q=0.5, text/plain;q=0.6"], Text),
            (&["application/openmetrics-text;q=0.6, text/plain;q=0.599"], OpenMetrics),
            (&["application/openmetrics-text, text/plain"], OpenMetrics),
            (&["text/plain", "application/openmetrics-text"], OpenMetrics),
            (&["application/openmetrics-text;q=0, */*"], Text),
            (&["application/openmetrics-text;q=0"], Text),
            (&["application/openmetrics-text;q=none"], Text),
            (&["text/plain;q=0, application/*;q=0.1"], OpenMetrics),
            (&["application/json"], Text),
            (&[";;,=,q=1,\t"], Text),
        ];
        for (accept, expected) in cases {
            assert_eq!(wanted(accept, "").exposition, expected, "{accept:?}");
        }
    }

    #[test]
    fn a_response_is_compressed_if_that_is_preferred() {
        let cases = [
            ("", false),
            ("gzip", true),
            ("GZIP", true),
            ("gzip, deflate, br, zstd", true),
            ("deflate, br", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("gzip;q=0.001", true),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("identity;q=1, gzip;q=0.5", false),
            ("identity;q=0.5, gzip", true),
            ("identity, gzip", true),
            ("gzip;q=2", false),
        ];
        for (encoding, expected) in cases {
            assert_eq!(wanted(&[], encoding).gzip, expected, "{encoding:?}");
        }
    }
}
