//! Checks that depend on more than one setting.

use std::net::IpAddr;

use super::effective::{Config, Loaded};
use super::fault::{Fault, Faults, Origin};
use super::rules;
use crate::auth::Mode;
use crate::downstream::{self, ListenAddress, Scheme, TlsFiles};
use crate::license::{RevocationList, RootUrl};
use crate::upstream;

/// The password hash in the examples of the README and the manual.
const PUBLISHED_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$U7nGLj/uh1yZKtvIc1F5RqNgy4bPqHQuh2mNMYvQDGg";

/// Adds the faults of settings that contradict each other, except for keys that have a fault already.
pub(super) fn check(loaded: &mut Loaded, faults: &mut Faults) {
    let mut found = Vec::new();
    let incomplete = incomplete_tls(loaded);
    if loaded.config.downstream.tls.as_ref().is_some_and(is_incomplete) {
        loaded.config.downstream.tls = None;
    }
    loaded.config.tls_is_off = loaded.config.downstream.tls.is_none()
        && loaded.origin("server.tls.cert_file") != Origin::Default;
    found.extend(
        incomplete
            .or_else(|| tls_without_certificate(loaded))
            .or_else(|| https_without_certificate(loaded)),
    );
    found.extend(incomplete_upstream_tls(loaded));
    found.extend(webhook_without_secret(loaded));
    found.extend(proxy_protocol_without_proxies(loaded));
    found.extend(no_address(loaded));
    found.extend(repeated_addresses(loaded));
    found.extend(upstream_is_the_gate(loaded));
    found.extend(rules::check(&loaded.config));
    found.retain(|fault| !faults.iter().any(|other| other.key() == fault.key()));
    faults.extend(found);
}

fn is_incomplete(files: &TlsFiles) -> bool {
    files.cert_file.as_os_str().is_empty() || files.key_file.as_os_str().is_empty()
}

fn incomplete_tls(loaded: &Loaded) -> Option<Fault> {
    let files = loaded.config.downstream.tls.as_ref()?;
    let (cert, key) = ("server.tls.cert_file", "server.tls.key_file");
    match (files.cert_file.as_os_str().is_empty(), files.key_file.as_os_str().is_empty()) {
        (true, false) => Some(missing(loaded, key, cert)),
        (false, true) => Some(missing(loaded, cert, key)),
        (true, true) if files.client_ca_file.is_some() => {
            Some(missing(loaded, "server.tls.client_ca_file", cert))
        }
        _ => None,
    }
}

/// A `[server.tls]` announces TLS. Only an empty `cert_file` states that there is none. A variable can be meant for several gates, of
/// which only some use TLS.
fn tls_without_certificate(loaded: &Loaded) -> Option<Fault> {
    let set = loaded
        .origins
        .iter()
        .find(|(key, origin)| key.starts_with("server.tls.") && matches!(origin, Origin::File(..)));
    let empty = loaded.config.empty_tables.get("server.tls");
    let origin = set.map(|(_, origin)| origin).or(empty)?;
    let is_lacking = loaded.config.downstream.tls.is_none() && !loaded.config.tls_is_off;
    let message = "needs cert_file and key_file: without them the gate would serve plain HTTP; set both, or remove [server.tls]";
    is_lacking.then(|| Fault::new(origin.clone(), "server.tls", message))
}

fn incomplete_upstream_tls(loaded: &Loaded) -> Option<Fault> {
    let tls = &loaded.config.upstream.tls;
    let (cert, key) = ("upstream.tls.cert_file", "upstream.tls.key_file");
    match (&tls.cert_file, &tls.key_file) {
        (None, Some(_)) => Some(missing(loaded, key, cert)),
        (Some(_), None) => Some(missing(loaded, cert, key)),
        _ => None,
    }
}

/// Without a secret, the receiver cannot verify who sent a notification.
fn webhook_without_secret(loaded: &Loaded) -> Option<Fault> {
    let notify = &loaded.config.notify;
    let lacking = notify.url.is_some() && notify.secret_file.is_none();
    lacking.then(|| missing(loaded, "notify.url", "notify.secret_file"))
}

fn proxy_protocol_without_proxies(loaded: &Loaded) -> Option<Fault> {
    let downstream = &loaded.config.downstream;
    let is_closed = downstream.proxy_protocol && downstream.trusted_proxies.is_empty();
    let message = "needs server.trusted_proxies: without it, every connection is refused";
    is_closed.then(|| loaded.fault("server.proxy_protocol", message))
}

/// A fault of the missing key, at the place of the key that requires it.
fn missing(loaded: &Loaded, given: &str, missing: &str) -> Fault {
    Fault::new(loaded.origin(given), missing, format!("is missing, while {given} is set"))
}

fn https_without_certificate(loaded: &Loaded) -> Option<Fault> {
    let downstream = &loaded.config.downstream;
    let https = downstream.listen.iter().find(|listen| listen.scheme == Some(Scheme::Https))?;
    downstream.tls.is_none().then(|| {
        let message = format!("https://{} needs server.tls.cert_file and key_file", https.place);
        loaded.fault("server.listen", message)
    })
}

fn no_address(loaded: &Loaded) -> Option<Fault> {
    let empty = loaded.config.downstream.listen.is_empty();
    empty.then(|| loaded.fault("server.listen", "names no address"))
}

fn repeated_addresses(loaded: &Loaded) -> Vec<Fault> {
    let mut taken: Vec<ListenAddress> = Vec::new();
    let mut faults = Vec::new();
    let listen = loaded.config.downstream.listen.iter();
    let listen = listen.map(|listen| ("server.listen", listen.place.clone()));
    let redirect = loaded.config.downstream.redirect.iter();
    let redirect = redirect.map(|listen| ("server.redirect", listen.place.clone()));
    let admin = loaded.config.admin.listen.clone();
    let admin = admin.map(|listen| ("admin.listen", ListenAddress::from(listen)));
    let is_free =
        |place: &ListenAddress| matches!(place, ListenAddress::Tcp(address) if address.port() == 0);
    for (key, place) in listen.chain(redirect).chain(admin).filter(|(_, place)| !is_free(place)) {
        if taken.contains(&place) {
            faults.push(loaded.fault(key, format!("{place} is given twice")));
        }
        taken.push(place);
    }
    faults
}

/// A dashboard at one of the gate's own addresses would be the gate itself.
fn upstream_is_the_gate(loaded: &Loaded) -> Option<Fault> {
    use upstream::Origin;
    let same = |place: &ListenAddress| match (place, &loaded.config.upstream.origin) {
        (
            ListenAddress::Tcp(address),
            Origin::Http { host, port } | Origin::Https { host, port },
        ) => {
            let local = if host == "localhost" { "127.0.0.1" } else { host };
            let is_host = |ip: IpAddr| {
                address.ip() == ip || (address.ip().is_unspecified() && ip.is_loopback())
            };
            address.port() == *port && local.parse().is_ok_and(is_host)
        }
        (ListenAddress::Unix(own), Origin::Unix(path)) => own == path,
        _ => false,
    };
    let downstream = &loaded.config.downstream;
    let mut listen = downstream.listen.iter().chain(&downstream.redirect);
    let own = &listen.find(|listen| same(&listen.place))?.place;
    let message = format!("is the gate itself, which listens on {own}");
    Some(loaded.fault("upstream.url", message))
}

/// Warnings about settings that are allowed but probably not intended.
pub(super) fn warnings(config: &Config) -> Vec<&'static str> {
    let Config { downstream, upstream, auth, license, feed, outgoing, notify, admin, .. } = config;
    let is_empty = |table| config.empty_tables.contains_key(table);
    let is_public = admin.listen.as_ref().is_some_and(|listen| !listen.is_local());
    let plain = |url: &http::Uri| url.scheme_str() == Some("http");
    let revocations = match &license.revocations {
        Some(RevocationList::Url(url)) => Some(url),
        Some(RevocationList::File(_)) | None => None,
    };
    let is_plain = |listen: &downstream::Listen| match listen.scheme {
        Some(scheme) => scheme == Scheme::Http,
        None => matches!(listen.place, ListenAddress::Unix(_)),
    };
    let is_challenges = |dir: &std::path::PathBuf| dir.ends_with(".well-known/acme-challenge");
    let findings = [
        (
            feed.url.as_ref().is_some_and(plain),
            "renewal.url is plain http: anyone on the network path can read the license token; use https",
        ),
        (
            license.jwks_url.as_ref().is_some_and(plain),
            "license.jwks_url is plain http: anyone on the network path can make the gate trust any key; use https",
        ),
        (
            revocations.is_some_and(plain),
            "license.revocations is plain http: anyone on the network path can hide the newest list from the gate; use https",
        ),
        (
            notify.url.as_ref().is_some_and(plain),
            "notify.url is plain http: anyone on the network path can read the license events; use https",
        ),
        (
            notify.url.is_none() && notify.secret_file.is_some(),
            "notify.secret_file is set, but notify.url is not: no notifications are sent",
        ),
        (
            is_empty("notify") && notify.url.is_none(),
            "[notify] is empty: without notify.url no notifications are sent",
        ),
        (
            is_empty("renewal") && feed.url.is_none(),
            "[renewal] is empty: without renewal.url no license is renewed",
        ),
        (
            outgoing.ca_file.is_some()
                && [&feed.url, &license.jwks_url, &notify.url].iter().all(|url| url.is_none())
                && revocations.is_none(),
            "renewal.ca_file is set, but not used: the gate makes no calls, because none of renewal.url, license.jwks_url, license.revocations and notify.url is a URL",
        ),
        (
            auth.mode == Mode::Local && auth.users.is_empty(),
            "auth.mode is local, but there are no [[auth.users]]: nobody can sign in",
        ),
        (
            auth.mode == Mode::Dashboard && !auth.users.is_empty(),
            "[[auth.users]] are ignored, because auth.mode is not local",
        ),
        (
            auth.users.iter().any(|user| user.password_hash == PUBLISHED_HASH),
            "auth.users has the password hash of the manual's example: make your own with `license-gate hash-password`",
        ),
        (
            is_elsewhere(config),
            "server.root_url is not set, and no address of server.listen has the port of its default, http://127.0.0.1:8080/: set it to the URL that browsers use, because licenses must be for it",
        ),
        (
            downstream.tls.is_some() && downstream.listen.iter().all(is_plain),
            "server.tls is set, but not used: every address of server.listen is http://, or a Unix socket without https://",
        ),
        (
            config.tls_is_off,
            "server.tls.cert_file is empty: the gate serves plain HTTP; if that is intended, remove [server.tls]",
        ),
        (
            !downstream.hsts.is_zero() && downstream.tls.is_none(),
            "server.tls.hsts is set, but not used: server.tls.cert_file is empty, so no response is sent over TLS",
        ),
        (
            !downstream.redirect.is_empty()
                && config.root_url.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("http:")),
            "server.redirect redirects to plain http, because server.root_url is http://; set server.root_url to https://",
        ),
        (
            redirects_to_its_port(config),
            "server.redirect has the port of server.root_url: its clients are redirected to it again, unless a port mapping in front of the gate leads that port to an address of server.listen",
        ),
        (
            downstream.acme_dir.is_some() && downstream.redirect.is_empty(),
            "server.acme_dir is set, but not used: only addresses of server.redirect serve challenges",
        ),
        (
            downstream.acme_dir.as_ref().is_some_and(is_challenges),
            "server.acme_dir ends with .well-known/acme-challenge, which the gate adds itself: name the webroot, as in certbot's -w",
        ),
        (
            (upstream.tls != upstream::TlsConfig::default() || is_empty("upstream.tls"))
                && !matches!(upstream.origin, upstream::Origin::Https { .. }),
            "upstream.tls is set, but not used: upstream.url is not https://",
        ),
        (
            is_public,
            "admin.listen is not a loopback address: every machine that can connect can read metrics and the license's state; use 127.0.0.1 or unix:/path, or let only the monitoring connect",
        ),
        (
            is_public && admin.allow_changes,
            "admin.allow_changes is set and admin.listen is not a loopback address: every machine that can connect can change the log level, without signing in",
        ),
        (
            upstream.probe_path.is_some() && upstream.probe_interval.is_zero(),
            "upstream.probe_path is set and upstream.probe_interval is 0s: the path is never requested",
        ),
    ];
    findings.into_iter().filter_map(|(found, warning)| found.then_some(warning)).collect()
}

/// Whether nothing listens where the default root URL leads. A port that the system or systemd chooses may be the right one.
fn is_elsewhere(config: &Config) -> bool {
    let root_url = Config::default().root_url;
    let Ok(port) = RootUrl::parse(&root_url).map(|url| url.port()) else { return false };
    let mut listen = config.downstream.listen.iter().map(|listen| &listen.place);
    config.root_url == root_url
        && listen.all(|place| match place {
            ListenAddress::Tcp(address) => ![0, port].contains(&address.port()),
            _ => false,
        })
}

/// Whether a client that follows a redirect connects to the same port again, if nothing in front of the gate maps ports.
fn redirects_to_its_port(config: &Config) -> bool {
    let Ok(root_url) = RootUrl::parse(&config.root_url) else { return false };
    let port = root_url.port();
    let mut places = config.downstream.redirect.iter().map(|listen| &listen.place);
    places.any(|place| matches!(place, ListenAddress::Tcp(address) if address.port() == port))
}
