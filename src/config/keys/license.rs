//! `[license]`, `[store]`, `[renewal]`.

use super::{Key, key, later, set, show};
use crate::config::read::quantity::{deadline, duration};
use crate::config::read::{address, text};

pub(super) const KEYS: &[Key] = &[
    key(
        "license.keys",
        |c, v| {
            c.license.keys_named = true;
            set(&mut c.license.keys, text::path(v))
        },
        |c| show::path(Some(&c.license.keys)),
    ),
    later("license.jwks_url"),
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
    later("license.revocations"),
    key(
        "store.url",
        |c, v| set(&mut c.store.place, text::place(v)),
        |c| show::text(&c.store.place),
    ),
    key(
        "store.copy",
        |c, v| set(&mut c.store.copy, text::path(v)),
        |c| show::path(Some(&c.store.copy)),
    ),
    later("store.history"),
    key(
        "renewal.url",
        |c, v| set(&mut c.feed.url, address::optional_url(v)),
        |c| show::optional(c.feed.url.as_ref().map(masked)),
    ),
    key(
        "renewal.ca_file",
        |c, v| set(&mut c.feed.ca_file, text::optional_path(v)),
        |c| show::path(c.feed.ca_file.as_deref()),
    ),
    key(
        "renewal.timeout",
        |c, v| set(&mut c.feed.timeout, deadline(v)),
        |c| show::duration(c.feed.timeout),
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
    }
}
