//! Errors that occur before the first call.

use super::*;
use crate::clock::UnixTime;

fn client(config: &Config) -> Client {
    Client::new(config, Proxies::none(), Clock::manual(UnixTime::from_secs(1_800_000_000)))
}

fn endpoint(client: &Client, url: &str) -> Result<Endpoint, SetupError> {
    client.endpoint("renewal.url", "the issuer", &url.parse().expect("a URI"))
}

#[test]
fn other_schemes_are_refused() {
    let client = client(&Config::default());
    for url in ["ftp://i.example/", "/only/a/path", "https://a..b/"] {
        let error = endpoint(&client, url).expect_err(url);
        assert!(matches!(error, SetupError::Url("renewal.url")), "{url}: {error:?}");
    }
}

#[test]
fn trust_anchors_are_read_for_https_only() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let none = Config { ca_file: Some(file.path().into()), ..Config::default() };
    let away = Config { ca_file: Some("/nowhere/ca.pem".into()), ..Config::default() };
    endpoint(&client(&away), "http://i.example/").expect("needs no TLS");
    let error = endpoint(&client(&away), "https://i.example/").expect_err("no file");
    assert!(matches!(error, SetupError::Authorities(certificate::Error::Read { .. })));
    let error = endpoint(&client(&none), "https://i.example/").expect_err("no certificate");
    assert!(matches!(error, SetupError::Authorities(certificate::Error::NoCertificate(_))));
}

#[test]
fn an_endpoint_shows_neither_path_nor_query() {
    let client = client(&Config::default());
    let shown = format!("{:?}", endpoint(&client, "http://i.example/p?k=v").expect("set up"));
    assert_eq!(shown, r#"Endpoint { peer: "the issuer", at: "i.example:80" }"#);
}
