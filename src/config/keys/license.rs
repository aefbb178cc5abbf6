//! `[license]`, `[store]`, `[renewal]`, `[notify]`.

use super::key::{Key, key, set, show};
use crate::config::read::quantity::{amount, deadline, duration, show_size, size};
use crate::config::read::{address, text};
use crate::license::RevocationList;

/// Each is a file that is read whole when somebody asks for the history.
const MOST_HISTORY: u32 = 1000;
/// A line of the audit log is shorter.
const LEAST_AUDIT_BYTES: usize = 64 * 1024;
const MOST_AUDIT_BYTES: usize = 1024 * 1024 * 1024;

pub(super) const KEYS: &[Key] = &[
    key(
        "license.keys",
        |c, v| {
            c.license.keys_named = true;
            set(&mut c.license.keys, text::path(v))
        },
        |c| show::path(Some(&c.license.keys)),
    ),
    key(
        "license.jwks_url",
        |c, v| set(&mut c.license.jwks_url, address::optional_url(v)),
        |c| show::optional(c.license.jwks_url.as_ref().map(masked)),
    ),
    key(
        "license.issuers",
        |c, v| set(&mut c.license.issuers, v.each(text::name)),
        |c| show::list(&c.license.issuers),
    ),
    key(
        "license.product",
        |c, v| set(&mut c.license.product, text::any(v)),
        |c| show::text(&c.license.product),
    ),
    key(
        "license.leeway",
        |c, v| set(&mut c.license.leeway, duration(v)),
        |c| show::duration(c.license.leeway),
    ),
    key(
        "license.file",
        |c, v| set(&mut c.license.file, text::optional_path(v)),
        |c| show::path(c.license.file.as_deref()),
    ),
    key(
        "license.revocations",
        |c, v| set(&mut c.license.revocations, address::revocations(v)),
        |c| match &c.license.revocations {
            Some(RevocationList::Url(url)) => show::text(masked(url)),
            Some(RevocationList::File(path)) => show::path(Some(path)),
            None => show::path(None),
        },
    ),
    key(
        "store.url",
        |c, v| set(&mut c.store.location, text::place(v)),
        |c| show::text(&c.store.location),
    ),
    key(
        "store.copy",
        |c, v| set(&mut c.store.copy, text::path(v)),
        |c| show::path(Some(&c.store.copy)),
    ),
    key(
        "store.history",
        |c, v| set(&mut c.store.history, amount(v, 0, MOST_HISTORY)),
        |c| show::number(c.store.history),
    ),
    key(
        "store.audit_max_bytes",
        |c, v| {
            let bytes = size(v, LEAST_AUDIT_BYTES, MOST_AUDIT_BYTES);
            set(&mut c.store.audit_max_bytes, bytes.map(|bytes| bytes as u64))
        },
        |c| show::text(show_size(usize::try_from(c.store.audit_max_bytes).unwrap_or(usize::MAX))),
    ),
    key(
        "renewal.url",
        |c, v| set(&mut c.feed.url, address::optional_url(v)),
        |c| show::optional(c.feed.url.as_ref().map(masked)),
    ),
    key(
        "renewal.ca_file",
        |c, v| set(&mut c.outgoing.ca_file, text::optional_path(v)),
        |c| show::path(c.outgoing.ca_file.as_deref()),
    ),
    key(
        "renewal.timeout",
        |c, v| set(&mut c.outgoing.timeout, deadline(v)),
        |c| show::duration(c.outgoing.timeout),
    ),
    key(
        "notify.url",
        |c, v| set(&mut c.notify.url, address::optional_url(v)),
        |c| show::optional(c.notify.url.as_ref().map(masked_path)),
    ),
    key(
        "notify.secret_file",
        |c, v| set(&mut c.notify.secret_file, text::optional_path(v)),
        |c| show::path(c.notify.secret_file.as_deref()),
    ),
];

/// The URL without what may be a secret in it: user information and query.
fn masked(url: &http::Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let (user, host) =
        authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("***@", host));
    let query = if url.query().is_some() { "?***" } else { "" };
    format!("{}://{user}{host}{}{query}", url.scheme_str().unwrap_or_default(), url.path())
}

/// The URL without its path too, which is what a webhook is known by.
fn masked_path(url: &http::Uri) -> String {
    let mut parts = url.clone().into_parts();
    let has_path = url.path() != "/" || url.query().is_some();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    let path = if has_path { "***" } else { "" };
    http::Uri::from_parts(parts).map(|url| masked(&url) + path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_url_are_masked() {
        let cases =
            [("https://u:p@a:1/b?c=d", "https://***@a:1/b?***"), ("http://a/b", "http://a/b")];
        for (url, expected) in cases {
            assert_eq!(masked(&url.parse().expect("a URL")), expected);
        }
        let cases =
            [("https://u:p@a:1/b/c?c=d", "https://***@a:1/***"), ("http://a/", "http://a/")];
        for (url, expected) in cases {
            assert_eq!(masked_path(&url.parse().expect("a URL")), expected);
        }
    }
}
