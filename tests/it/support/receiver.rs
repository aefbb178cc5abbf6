//! A receiver for `notify.url`: records notifications, and verifies each signature by computing it again.

use std::path::Path;

use aws_lc_rs::hmac;
use serde_json::Value;

use super::issuer::{self, Issuer, Question, Script};

/// What events are signed with.
pub(crate) const SECRET: &str = "a-secret-that-nobody-else-knows";

/// A receiver that listens. As an issuer it does what it is told with what it gets.
pub(crate) struct Receiver(Issuer);

/// An event as it came, genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// When it was sent.
    pub(crate) at: u64,
    pub(crate) body: Value,
}

impl Receiver {
    /// One that takes everything.
    pub(crate) fn new() -> Self {
        Self(Issuer::playing(takes()))
    }

    /// Puts the secret into `dir`: the lines that make a gate there tell this receiver.
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

    /// Where it listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.0.address()
    }

    /// Acts by `script` from now on.
    pub(crate) fn play(&self, script: Script) {
        self.0.play(script);
    }

    /// Answers with this status from now on.
    pub(crate) fn says(&self, status: &str) {
        self.0.play(Script::Says(issuer::answer(status, "")));
    }

    /// Takes everything from now on, and what it held back.
    pub(crate) fn takes(&self) {
        self.0.play(takes());
        self.0.release();
    }

    /// Holds back its answers until it takes what it gets.
    pub(crate) fn holds(&self) {
        self.0.play(Script::Ponders(String::new()));
    }

    /// How many events came, the same ones again included.
    pub(crate) fn count(&self) -> usize {
        self.0.questions().len()
    }

    /// The heads and bodies of all that came, as they came.
    pub(crate) fn raw(&self) -> Vec<String> {
        self.0.questions().iter().map(|question| question.head.clone() + &question.body).collect()
    }

    /// Waits for the event number `count`, from 1.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Told {
        Told::genuine(&self.0.wait_for(count))
    }

    /// Waits until the last event that came is about this `jti`; `null`: about no license.
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
    pub(crate) fn all(&self) -> Vec<Told> {
        self.0.questions().iter().map(Told::genuine).collect()
    }

    /// The names of the events so far, once there are as many as expected.
    #[track_caller]
    pub(crate) fn have_come(&self, expected: &[&str]) -> Vec<Told> {
        if !expected.is_empty() {
            self.wait_for(expected.len());
        }
        let all = self.all();
        let names: Vec<_> = all.iter().map(Told::event).collect();
        assert_eq!(names, expected, "{all:#?}");
        all
    }
}

fn takes() -> Script {
    Script::Says(issuer::answer("200 OK", ""))
}

/// Puts the secret where a gate in `dir` finds it.
pub(crate) fn write_secret(dir: &Path) {
    std::fs::write(dir.join("secret"), format!("{SECRET}\n")).expect("written");
}

impl Told {
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

    /// What it says to people.
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().expect("a sentence")
    }

    /// When it happened, in seconds.
    pub(crate) fn time(&self) -> u64 {
        let time = humantime::parse_rfc3339(self.body["time"].as_str().expect("a time"));
        let since = time.expect("RFC 3339").duration_since(std::time::UNIX_EPOCH);
        since.expect("after 1970").as_secs()
    }
}
