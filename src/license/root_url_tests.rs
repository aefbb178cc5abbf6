//! Spellings and matches of root URLs.

use proptest::prelude::*;

use super::*;

#[test]
fn spellings_of_one_instance_normalise_to_one_url() {
    let cases = [
        ("http://a", "http://a/"),
        ("HTTP://A.Example:80/", "http://a.example/"),
        ("https://a:443", "https://a/"),
        ("https://a:/", "https://a/"),
        ("https://a:80/", "https://a:80/"),
        ("https://a:0443/", "https://a/"),
        ("https://a/Grafana", "https://a/Grafana/"),
        ("https://a/grafana/x//", "https://a/grafana/x/"),
        ("http://[2001:DB8:0:0::1]:3000/", "http://[2001:db8::1]:3000/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
    ];
    for (text, normal) in cases {
        assert_eq!(RootUrl::parse(text).map(|url| url.to_string()).as_deref(), Ok(normal));
    }
    assert_eq!(RootUrl::parse("http://127.0.0.1:8080"), Ok(RootUrl::default()));
}

#[test]
fn other_texts_are_refused() {
    use RootUrlError::{Host, NotAscii, Path, Port, Scheme, UserInfo, Wildcard};
    let cases = [
        ("", Scheme),
        ("a.example", Scheme),
        ("ftp://a/", Scheme),
        ("http:/a", Scheme),
        ("http://", Host),
        ("http:///x", Host),
        ("http://a..b/", Host),
        ("http://a b/", Host),
        ("http://bücher.example/", NotAscii(Some("xn--bcher-kva.example".into()))),
        ("http://bü cher.example/", NotAscii(None)),
        ("http://[::1/", Host),
        ("http://[::1]x/", Host),
        ("http://[g]/", Host),
        ("http://a:x/", Port),
        ("http://a:+1/", Port),
        ("http://a:0/", Port),
        ("http://a:65536/", Port),
        ("http://u:p@a/", UserInfo),
        ("http://a/?q", Path),
        ("http://a?q", Path),
        ("http://a/#f", Path),
        ("http://a/b/../c", Path),
        ("http://a/./c", Path),
        ("http://a//c", Path),
        ("http://a/b c", Path),
        ("http://a\\b", Path),
        ("http://*.a/", Wildcard),
        ("http://a/*/", Wildcard),
    ];
    for (text, error) in cases {
        assert_eq!(RootUrl::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_wildcard_is_one_label_or_one_segment() {
    let cases = [
        ("https://a.example/", "https://a.example", true),
        ("https://a.example/", "HTTPS://A.EXAMPLE:443/", true),
        ("https://a.example/", " https://a.example/\n", true),
        ("https://a.example/", "http://a.example/", false),
        ("https://a.example/", "https://a.example:8443/", false),
        ("https://a.example/", "https://*.example/", true),
        ("https://b.a.example/", "https://*.example/", false),
        ("https://b.a.example/", "https://*.*.example/", true),
        ("https://example/", "https://*.example/", false),
        ("https://a.example/", "https://*/", false),
        ("https://localhost/", "https://*/", true),
        ("https://a.example/", "https://a*.example/", false),
        ("https://a.example.evil/", "https://a.example/", false),
        ("https://[::1]/", "https://[0:0::1]/", true),
        ("https://[::1]/", "https://*/", false),
        ("https://a/x/", "https://a/*/", true),
        ("https://a/x/", "https://a/*", true),
        ("https://a/x/y/", "https://a/*/", false),
        ("https://a/x/y/", "https://a/*/y", true),
        ("https://a/", "https://a/*", false),
        ("https://a/x/", "https://a/", false),
        ("https://a/x/", "https://a/X/", false),
        ("https://a/x/", "https://a/x*/", false),
        ("https://a/", "*", false),
        ("https://a/", "*://a/", false),
        ("https://a/", "https://a:*/", false),
        ("https://a/", "https://a@a/", false),
        ("https://a/", "", false),
    ];
    for (instance, sub, covered) in cases {
        let instance = RootUrl::parse(instance).expect("a root URL");
        assert_eq!(instance.matches(sub), covered, "{instance} by {sub}");
    }
}

#[test]
fn an_instance_is_compared_without_wildcards() {
    let instance = RootUrl::parse("https://a.example/x/").expect("a root URL");
    assert!(instance.equals(" HTTPS://A.example:443/x"));
    for other in ["https://*.example/x/", "https://a.example/*", "https://a.example/", ""] {
        assert!(!instance.equals(other), "{other}");
    }
}

#[test]
fn a_root_url_is_split_into_its_parts() {
    let url = RootUrl::parse("https://A.example:8443/g/x").expect("a root URL");
    assert_eq!((url.scheme(), url.host_header(), url.port()), ("https", "a.example:8443", 8443));
    assert_eq!((url.base_path(), url.origin()), ("/g/x", "https://a.example:8443"));
    let url = RootUrl::parse("http://[::1]").expect("a root URL");
    assert_eq!((url.host_header(), url.port(), url.base_path()), ("[::1]", 80, ""));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), sub in any::<String>()) {
        if let Ok(url) = RootUrl::parse(&text) {
            let _ = url.matches(&sub);
        }
    }

    #[test]
    fn normalising_twice_changes_nothing(
        text in r"[hH][tT]{2}ps?://([A-Za-z0-9_-]{1,5}(\.[A-Za-z0-9]{1,5}){0,3}|\[::[0-9a-f]{1,4}\])(:[0-9]{0,5})?(/[A-Za-z0-9._~%-]{1,6}){0,3}/{0,2}"
    ) {
        if let Ok(url) = RootUrl::parse(&text) {
            prop_assert_eq!(&RootUrl::parse(url.as_str()).expect("normal"), &url);
            prop_assert!(url.matches(&text) && url.equals(&text) && url.matches(url.as_str()));
        }
    }
}
