//! The lines that are logged at the start, one for each part of the gate.

use http::Uri;

use crate::admin::{Listen, Probed, Setup, license_phrase};
use crate::config::Config;
use crate::downstream::{Bound, Scheme};
use crate::license;
use crate::store::InForce;
use crate::upstream::{self, Origin};

/// Where the parts of a gate are, without the secrets that a URL may contain.
pub(super) fn setup(config: &Config) -> Setup {
    Setup {
        keys: keys(&config.license),
        store: config.store.location.to_string(),
        dashboard: dashboard(&config.upstream),
        issuer: config.feed.url.as_ref().map(origin),
    }
}

fn keys(config: &license::Config) -> String {
    let files = config.keys.display();
    match &config.jwks_url {
        Some(url) => format!("{files}, {}", origin(url)),
        None => files.to_string(),
    }
}

fn dashboard(config: &upstream::Config) -> String {
    match &config.origin {
        origin @ Origin::Http { .. } => format!("http://{origin}"),
        origin @ Origin::Https { .. } => format!("https://{origin}"),
        origin => origin.to_string(),
    }
}

/// Scheme, host and port: a path or a query may be secret.
fn origin(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", url.scheme_str().unwrap_or_default())
}

/// Logs it all. The line with every address is the last.
pub(super) fn log(
    bound: &[Bound],
    redirects: &[Bound],
    admin: Option<&Listen>,
    probed: &Probed,
    workers: usize,
) {
    let snapshot = probed.reader.snapshot();
    let now = probed.clock.now();
    let in_force = snapshot.in_force(now);
    let InForce { license, source, why, standing } = &in_force;
    // The warning that follows has the reason.
    let is_invalid = license.is_some() && standing.reason().is_some();
    let phrase = if is_invalid { "not valid".to_owned() } else { license_phrase(&snapshot, now) };
    tracing::info!(
        license.id = license.as_ref().map(|license| &*license.claims().lid),
        license.jti = license.as_ref().and_then(|license| license.claims().jti.as_deref()),
        source = license.as_ref().map(|_| source.as_str()),
        why = license.as_ref().map(|_| tracing::field::display(why)),
        "license: {phrase}"
    );
    let configured = probed.configured.load();
    let Setup { keys, store, dashboard, .. } = &configured.setup;
    tracing::info!(trusted = snapshot.trust().keys.len(), from = keys, "issuer keys loaded");
    tracing::info!(url = store, "store opened");
    tracing::info!(url = dashboard, "requests go to the dashboard");
    tracing::info!(number = workers, "workers started");
    let redirect = (!redirects.is_empty()).then(|| urls(redirects, Scheme::Http));
    let admin = admin.map(|place| match place {
        Listen::Tcp(address) => format!("http://{address}"),
        Listen::Unix(_) => place.to_string(),
    });
    let scheme = if configured.tls.is_some() { Scheme::Https } else { Scheme::Http };
    tracing::info!(listen = urls(bound, scheme), redirect, admin, "listening");
}

/// The URLs, where `scheme` is that of addresses without their own.
fn urls(bound: &[Bound], scheme: Scheme) -> String {
    let url =
        |bound: &Bound| format!("{}://{}", bound.scheme.unwrap_or(scheme).as_str(), bound.place);
    bound.iter().map(url).collect::<Vec<_>>().join(" ")
}
