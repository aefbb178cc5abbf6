//! The access log: one line for each request on standard output, written when its response has ended.
//!
//! A slow reader of standard output never delays a request: see `stream.rs`. A line contains neither the query nor any field
//! that may hold a secret.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Version};
use serde::Serialize;

use super::config::{Format, Now};
use super::line;
use super::metrics::Handler;
use super::stream::{Standard, Stream};

/// Status that nginx gives a client that disconnected before its response.
const CLIENT_LEFT: u16 = 499;

/// What went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// No connection to the dashboard.
    ConnectFailed,
    /// The dashboard cut its response, or sent no valid one.
    CutByUpstream,
    /// The dashboard did not respond in time.
    TimedOut,
    /// The client disconnected before the end of its response.
    ClientLeft,
}

impl Flag {
    /// Value of the field `flag`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectFailed => "UF",
            Self::CutByUpstream => "UC",
            Self::TimedOut => "UT",
            Self::ClientLeft => "DC",
        }
    }
}

/// The access log of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct AccessLog {
    stream: Stream,
    format: Format,
    now: Now,
}

/// The line of one request, which is written when this is dropped.
#[derive(Debug)]
pub struct Record {
    log: AccessLog,
    began: Instant,
    /// Id of the request.
    pub request_id: String,
    /// Address of the client, also behind trusted proxies.
    pub client: IpAddr,
    /// Method of the request.
    pub method: Method,
    /// `Host` as the client sent it.
    pub host: String,
    /// Path of the request, without its query.
    pub path: String,
    /// Protocol of the request.
    pub protocol: Version,
    /// Status of the response; `None`: there is none yet.
    pub status: Option<StatusCode>,
    /// Bytes of the response body so far.
    pub bytes: u64,
    /// Time until the head of the dashboard's response.
    pub upstream: Option<Duration>,
    /// What answered, or would have.
    pub handler: Handler,
    /// What went wrong.
    pub flag: Option<Flag>,
}

/// The fields of a line, in their order.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    level: &'static str,
    request_id: &'a str,
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    protocol: &'a str,
    status: u16,
    bytes: u64,
    duration_ms: f64,
    upstream_ms: Option<f64>,
    handler: &'static str,
    flag: Option<&'static str>,
}

impl AccessLog {
    /// The access log of this process.
    ///
    /// # Errors
    /// The writing thread cannot be started.
    pub fn start(format: Format, now: Now) -> io::Result<Self> {
        Ok(Self { stream: Standard::Output.open()?.clone(), format, now })
    }

    /// A record of a request that begins now.
    pub fn record(&self, method: Method, protocol: Version, client: IpAddr) -> Record {
        Record {
            log: self.clone(),
            began: Instant::now(),
            request_id: String::new(),
            client,
            method,
            host: String::new(),
            path: String::new(),
            protocol,
            status: None,
            bytes: 0,
            upstream: None,
            handler: Handler::Gate,
            flag: None,
        }
    }

    fn write(&self, record: &Record) {
        let stream = self.stream.standard().as_str();
        self.stream.write(|lost| match lost {
            0 => self.line(record),
            _ => line::notice(self.format, self.now, stream, lost) + &self.line(record),
        });
    }

    fn line(&self, record: &Record) -> String {
        let mut time = String::with_capacity(24);
        // Writing to a String cannot fail.
        let _ = (self.now)(&mut time);
        let line = Line {
            time: &time,
            level: "INFO",
            request_id: &record.request_id,
            client: record.client,
            method: record.method.as_str(),
            host: &record.host,
            path: &record.path,
            protocol: protocol(record.protocol),
            status: record.status.map_or(CLIENT_LEFT, |status| status.as_u16()),
            bytes: record.bytes,
            duration_ms: millis(record.began.elapsed()),
            upstream_ms: record.upstream.map(millis),
            handler: record.handler.as_str(),
            flag: record.flag.map(Flag::as_str),
        };
        match self.format {
            Format::Json => serde_json::to_string(&line).unwrap_or_default() + "\n",
            Format::Text => text(&line),
        }
    }
}

impl Record {
    /// Time since the request began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.flag = Some(Flag::ClientLeft);
        }
        self.log.write(self);
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn millis(duration: Duration) -> f64 {
    // Whole microseconds, which a double shows without surplus digits.
    let micros = u32::try_from(duration.as_micros());
    micros.map_or_else(|_| duration.as_secs_f64().round() * 1e3, |micros| f64::from(micros) / 1e3)
}

/// The same as readable text; values that a client chooses are quoted and escaped.
fn text(line: &Line<'_>) -> String {
    let mut text = String::with_capacity(160);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{} {} {} {:?} {:?} {} {} {}B {:.3}ms",
        line.time,
        line.client,
        line.method,
        line.host,
        line.path,
        line.protocol,
        line.status,
        line.bytes,
        line.duration_ms,
    );
    if let Some(upstream) = line.upstream_ms {
        let _ = write!(text, " upstream={upstream:.3}ms");
    }
    let _ = write!(text, " {}", line.handler);
    if let Some(flag) = line.flag {
        let _ = write!(text, " {flag}");
    }
    let _ = writeln!(text, " {}", line.request_id);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::stream::tests::read;

    fn line(format: Format) -> String {
        let (stream, lines) = read();
        let log = AccessLog { stream, format, now: |out| out.write_str("NOW") };
        let mut record = log.record(Method::GET, Version::HTTP_11, IpAddr::from([127, 0, 0, 1]));
        record.request_id = "r1".into();
        record.host = "a\nb".into();
        record.path = "/x".into();
        record.status = Some(StatusCode::OK);
        record.bytes = 5;
        record.handler = Handler::Proxy;
        drop(record);
        lines.recv().expect("a line")
    }

    #[test]
    fn a_line_has_every_field_and_nothing_a_client_sent_breaks_it() {
        let json: serde_json::Value = serde_json::from_str(&line(Format::Json)).expect("JSON");
        let fields: Vec<&str> =
            json.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut expected = vec![
            "time",
            "level",
            "request_id",
            "client",
            "method",
            "host",
            "path",
            "protocol",
            "status",
            "bytes",
            "duration_ms",
            "upstream_ms",
            "handler",
            "flag",
        ];
        expected.sort_unstable();
        assert_eq!(fields, expected);
        let text = line(Format::Text);
        assert!(text.starts_with(r#"NOW 127.0.0.1 GET "a\nb" "/x" HTTP/1.1 200 5B "#), "{text}");
        assert!(text.ends_with("ms proxy r1\n") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn a_client_that_left_before_its_answer_is_499_dc() {
        let (stream, lines) = read();
        let log = AccessLog { stream, format: Format::Text, now: |_| Ok(()) };
        drop(log.record(Method::GET, Version::HTTP_2, IpAddr::from([127, 0, 0, 1])));
        let text = lines.recv().expect("a line");
        assert!(text.contains("HTTP/2 499 0B") && text.contains(" DC "), "{text}");
    }
}
