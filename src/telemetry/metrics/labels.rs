//! What metrics are told apart by: small fixed sets, so that counting is an index and no label is ever a client's word.

use http::{Method, StatusCode};

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$item_doc])* $item,)+ }

        impl $name {
            /// Every one, in order.
            pub const ALL: &[Self] = &[$(Self::$item,)+];

            /// The label's value.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $text,)+ }
            }
        }
    };
}

labels! {
    /// Who answered a request.
    Handler {
        /// The licensing API.
        Licensing = "licensing",
        /// The dashboard, through the proxy.
        Proxy = "proxy",
        /// The gate itself, with a refusal.
        Gate = "gate",
    }
}

labels! {
    /// What went wrong with the dashboard.
    UpstreamErrorKind {
        /// No connection.
        Connect = "connect",
        /// No connection in time.
        ConnectTimeout = "connect_timeout",
        /// No TLS: a certificate that is not to be trusted, say.
        Tls = "tls",
        /// No part of the request accepted in time.
        SendTimeout = "send_timeout",
        /// No answer in time.
        HeaderTimeout = "header_timeout",
        /// The connection ended before an answer.
        Closed = "closed",
        /// The answer is not HTTP.
        Nonsense = "nonsense",
        /// The client's body ended early.
        RequestBody = "request_body",
        /// The answer is larger than this gate keeps.
        TooLarge = "too_large",
    }
}

labels! {
    /// How the license changed, or was to change: `action` of `license_gate_license_changes_total`.
    Change {
        /// A token posted.
        Install = "install",
        /// A token from the issuer.
        Renew = "renew",
        /// A license removed.
        Remove = "remove",
        /// A former license put back.
        Rollback = "rollback",
        /// The license file changed.
        File = "file",
    }
}

labels! {
    /// How it ended.
    Outcome {
        /// Done.
        Ok = "ok",
        /// Not acceptable.
        Refused = "refused",
        /// Acceptable, and yet not done.
        Failed = "failed",
    }
}

labels! {
    /// What became of the question whether a caller may.
    AuthOutcome {
        /// Yes.
        Granted = "granted",
        /// No or wrong credentials.
        Unauthorized = "unauthorized",
        /// Known, without the permission.
        Denied = "denied",
        /// Too many attempts.
        Limited = "limited",
        /// Nobody could be asked.
        Unavailable = "unavailable",
    }
}

/// Methods that have a label of their own; any other is `other`.
pub(super) const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "other"];

pub(super) fn method_at(method: &Method) -> usize {
    match method.as_str() {
        "GET" => 0,
        "HEAD" => 1,
        "POST" => 2,
        "PUT" => 3,
        "PATCH" => 4,
        "DELETE" => 5,
        "OPTIONS" => 6,
        "TRACE" => 7,
        "CONNECT" => 8,
        _ => 9,
    }
}

const LEAST_STATUS: usize = 100;

/// A slot for each status from 100 to 599, and one for all others.
pub(super) const STATUSES: usize = 501;

pub(super) fn status_at(status: StatusCode) -> usize {
    (usize::from(status.as_u16()) - LEAST_STATUS).min(STATUSES - 1)
}

pub(super) fn status_label(at: usize) -> String {
    if at == STATUSES - 1 { "other".to_owned() } else { (at + LEAST_STATUS).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_the_slot_of_its_name() {
        for (at, name) in METHODS.iter().enumerate() {
            let method = Method::from_bytes(name.as_bytes()).expect("a method");
            assert_eq!(method_at(&method), at, "{name}");
        }
        assert_eq!(
            METHODS[method_at(&Method::from_bytes(b"PROPFIND").expect("a method"))],
            "other"
        );
    }

    #[test]
    fn every_status_has_a_slot() {
        for code in 100..=999 {
            let at = status_at(StatusCode::from_u16(code).expect("a status"));
            let expected = if code < 600 { code.to_string() } else { "other".to_owned() };
            assert_eq!(status_label(at), expected);
        }
    }
}
