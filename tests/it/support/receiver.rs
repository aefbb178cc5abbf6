//! A receiver for `notify.url`: records notifications, and verifies each signature by computing it again.

use std::path::Path;

use aws_lc_rs::hmac;
use serde_json::Value;

use super::issuer::{self, Issuer, Question, Script};

/// The secret that signs events.
pub(crate) const SECRET: &str = "a-secret-that-nobody-else-knows";

/// A running receiver. Like the issuer, it answers as a test chooses.
pub(crate) struct Receiver(Issuer);

/// A received event with a valid signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// The time at which it was sent.
    pub(crate) at: u64,
    pub(crate) body: Value,
}

impl Receiver {
    /// A receiver that accepts everything.
    pub(crate) fn new() -> Self {
        Self(Issuer::playing(takes()))
    }

    /// Writes the secret into `dir`. Returns the configuration of a gate there that notifies this receiver.
    pub(crate) fn lines(&self) -> [String; 2] {
        self.settings().map(|(key, value)| format!("{key} = {value}"))
    }

    /// The same as keys and values.
    pub(crate) fn settings(&self) -> [(&'static str, String); 2] {
        [
            ("notify.url", format!("{:?}", self.0.url())),
            ("notify.secret_file", "\"secret\"".to_owned()),
        ]
    }

    /// Its URL.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.0.address()
    }

    /// Answers with `script` from now on.
    pub(crate) fn play(&self, script: Script) {
        self.0.play(script);
    }

    /// Answers with this status from now on.
    pub(crate) fn says(&self, status: &str) {
        self.0.play(Script::Says(issuer::answer(status, "")));
    }

    /// Accepts everything from now on, including the requests that it held.
    pub(crate) fn takes(&self) {
        self.0.play(takes());
        self.0.release();
    }

    /// Holds all responses until it accepts again.
    pub(crate) fn holds(&self) {
        self.0.play(Script::Ponders(String::new()));
    }

    /// The number of received events, repeated ones included.
    pub(crate) fn count(&self) -> usize {
        self.0.questions().len()
    }

    /// The heads and bodies of all requests.
    pub(crate) fn raw(&self) -> Vec<String> {
        self.0.questions().iter().map(|question| question.head.clone() + &question.body).collect()
    }

    /// Waits for event number `count`, from 1.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Received {
        Received::genuine(&self.0.wait_for(count))
    }

    /// Waits until the latest event is about this `jti`; `null`: about no license.
    #[track_caller]
    pub(crate) fn until(&self, jti: &Value) {
        let is_it = |question: &Question| {
            let body: Value = serde_json::from_str(&question.body).expect("JSON");
            body["license"].get("jti").unwrap_or(&Value::Null) == jti
        };
        self.0.until(|questions| questions.last().is_some_and(is_it));
    }

    /// Every event so far.
    #[track_caller]
    pub(crate) fn all(&self) -> Vec<Received> {
        self.0.questions().iter().map(Received::genuine).collect()
    }

    /// The names of the events so far. Waits until there are as many as expected.
    #[track_caller]
    pub(crate) fn have_come(&self, expected: &[&str]) -> Vec<Received> {
        if !expected.is_empty() {
            self.wait_for(expected.len());
        }
        let all = self.all();
        let names: Vec<_> = all.iter().map(Received::event).collect();
        assert_eq!(names, expected, "{all:#?}");
        all
    }
}

fn takes() -> Script {
    Script::Says(issuer::answer("200 OK", ""))
}

/// Writes the secret file of a gate in `dir`.
pub(crate) fn write_secret(dir: &Path) {
    std::fs::write(dir.join("secret"), format!("{SECRET}\n")).expect("written");
}

impl Received {
    #[track_caller]
    fn genuine(question: &Question) -> Self {
        let Question { head, body } = question;
        assert!(head.starts_with("POST /renew?tenant=7 HTTP/1.1\r\n"), "{head}");
        let field = |name: &str| {
            let fields = head.lines().filter_map(|line| line.split_once(": "));
            let mut values = fields.filter(|(own, _)| own.eq_ignore_ascii_case(name));
            let value = values.next().unwrap_or_else(|| panic!("no {name} in {head}")).1;
            assert!(values.next().is_none(), "{name} twice in {head}");
            value
        };
        assert_eq!(field("content-type"), "application/json");
        let timestamp = field("license-gate-timestamp");
        let signed = format!("{timestamp}.{body}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature: String = hmac::sign(&key, signed.as_bytes())
            .as_ref()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(field("license-gate-signature"), format!("v1={signature}"));
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["id"], field("license-gate-event"));
        Self { at: timestamp.parse().expect("seconds"), body }
    }

    /// Its name.
    pub(crate) fn event(&self) -> &str {
        self.body["event"].as_str().expect("a name")
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().expect("an id")
    }

    /// Its message for people.
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().expect("a sentence")
    }

    /// The time at which it happened, in seconds.
    pub(crate) fn time(&self) -> u64 {
        let time = humantime::parse_rfc3339(self.body["time"].as_str().expect("a time"));
        let since = time.expect("RFC 3339").duration_since(std::time::UNIX_EPOCH);
        since.expect("after 1970").as_secs()
    }
}
