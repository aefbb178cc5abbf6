//! Labels: small fixed sets, so that counting is an index and no client chooses a label's value.

use http::{Method, StatusCode};

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$item_doc])* $item,)+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$item,)+];

            /// The label's value.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $text,)+ }
            }
        }
    };
}

labels! {
    /// What answered a request.
    Handler {
        /// The licensing API.
        Licensing = "licensing",
        /// The dashboard, through the proxy.
        Proxy = "proxy",
        /// The gate itself, with a refusal.
        Gate = "gate",
        /// An address of `server.redirect`.
        Redirect = "redirect",
    }
}

labels! {
    /// Why a forwarded request failed: `kind` of `license_gate_upstream_errors_total`.
    UpstreamErrorKind {
        /// The dashboard refused the connection, or cannot be reached.
        Connect = "connect",
        /// It accepted no connection in time.
        ConnectTimeout = "connect_timeout",
        /// The TLS handshake failed, for example for a certificate that is not trusted.
        Tls = "tls",
        /// It accepted no more of the request in time.
        SendTimeout = "send_timeout",
        /// No response began in time.
        HeaderTimeout = "header_timeout",
        /// The connection ended before a response.
        Closed = "closed",
        /// The response began, and its body broke off or is malformed.
        Cut = "cut",
        /// The response is not valid HTTP.
        InvalidResponse = "invalid_response",
        /// The client did not send the whole request body.
        RequestBody = "request_body",
        /// The response is larger than the gate accepts.
        TooLarge = "too_large",
    }
}

labels! {
    /// A change of the license, made or refused: `action` of `license_gate_license_changes_total`.
    Change {
        /// A token was posted.
        Install = "install",
        /// The issuer sent a token.
        Renew = "renew",
        /// The license was removed.
        Remove = "remove",
        /// A former license was restored.
        Rollback = "rollback",
        /// The license file changed.
        File = "file",
    }
}

labels! {
    /// How a change or a renewal ended.
    Outcome {
        /// Done.
        Ok = "ok",
        /// The token, or the request, is not acceptable.
        Refused = "refused",
        /// It is acceptable, and an error prevented it.
        Failed = "failed",
    }
}

labels! {
    /// Result of checking a caller's permission.
    AuthOutcome {
        /// The caller has the permission.
        Granted = "granted",
        /// Credentials are missing or wrong.
        Unauthorized = "unauthorized",
        /// The caller is known, and lacks the permission.
        Denied = "denied",
        /// There were too many attempts.
        Limited = "limited",
        /// The dashboard could not identify the caller.
        Unavailable = "unavailable",
    }
}

/// Values of the label `method`; the last stands for any other method.
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
