//! Valid and invalid URLs of databases.

use super::*;

fn parse(text: &str) -> Result<Database, UrlError> {
    Database::parse(text, |path| path.into())
}

#[test]
fn a_url_has_user_hosts_database_and_parameters() {
    let url = "postgres://gate:p%40ss@a,[::1]:1,c:2/licenses?connect_timeout=7&sslrootcert=ca.pem";
    let database = parse(url).expect("a URL");
    let hosts: Vec<_> = database.hosts.iter().map(Host::to_string).collect();
    assert_eq!(hosts, ["a:5432", "[::1]:1", "c:2"]);
    assert_eq!(database.connect_timeout, Duration::from_secs(7));
    let config = database.at(&database.hosts[0]);
    assert_eq!(config.get_user(), Some("gate"));
    assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
    assert_eq!(config.get_dbname(), Some("licenses"));
    assert_eq!(config.get_ssl_mode(), SslMode::Require);
    assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert_eq!(database.tls.expect("TLS").roots, Some("ca.pem".into()));
}

#[test]
fn tls_is_used_except_with_sslmode_disable_and_for_sockets() {
    let mode = |url: &str| {
        let database = parse(url).expect(url);
        database.at(&database.hosts[0]).get_ssl_mode()
    };
    for query in ["", "?sslmode=require", "?sslmode=verify-ca", "?sslmode=verify-full"] {
        assert_eq!(mode(&format!("postgres://u@h/d{query}")), SslMode::Require, "{query}");
    }
    assert_eq!(mode("postgres://u@h/d?sslmode=disable"), SslMode::Disable);
    for socket in ["postgres://u@%2Frun%2Fpg/d", "postgresql:///d?host=/run/pg&user=u&port=7"] {
        assert_eq!(mode(socket), SslMode::Disable, "{socket}");
        assert!(parse(socket).expect("a URL").wants_tls().is_none());
    }
    for mode in ["prefer", "allow"] {
        let fault = parse(&format!("postgres://u@h/d?sslmode={mode}")).expect_err(mode);
        assert!(fault.to_string().contains("write sslmode=verify-full"), "{fault}");
    }
}

#[test]
fn the_password_is_never_shown() {
    let urls = [
        "postgres://u:s3cret@h/d?sslmode=disable",
        "postgres://u@h/d?password=s3cret",
        "postgres://u:s3cret@/d?host=/run/pg",
    ];
    for url in urls {
        let database = parse(url).expect(url);
        let shown = format!("{database} {database:?}");
        assert!(!shown.contains("s3cret") && shown.contains("u:***@"), "{shown}");
        let again = parse(&database.to_string()).expect("what is shown reads back");
        assert_eq!(again.to_string(), database.to_string());
    }
    for url in [
        "postgres://u:s3cret/x@h/d",
        "postgres://u:s3cret%@h",
        "postgres://u:s3cret@h:0/d",
        "postgres://u:s3cret@h/d?sslmode=s3cret",
        "postgres://u:s3cret@h/d?options=%zz",
    ] {
        let fault = parse(url).expect_err(url).to_string();
        assert!(!fault.contains("s3cret"), "{fault}");
    }
}

#[test]
fn invalid_urls_are_refused() {
    let cases = [
        ("mysql://u@h/d", UrlError::Scheme),
        ("postgres://h/d", UrlError::NoUser),
        ("postgres://u@/d", UrlError::NoHost),
        ("postgres://u@h:x/d", UrlError::Port),
        ("postgres://u@a,b,c/d?port=1,2", UrlError::Port),
        ("postgres://u@h/d?sslcert=c", UrlError::HalfAPair),
        ("postgres://u@h/d?sslcrl=c", UrlError::Unknown("sslcrl".into())),
        ("postgres://u%ff@h/d", UrlError::Escape),
    ];
    for (url, expected) in cases {
        assert_eq!(parse(url).expect_err(url), expected, "{url}");
    }
    for query in ["connect_timeout=0", "target_session_attrs=read-only", "sslmode=on"] {
        let fault = parse(&format!("postgres://u@h/d?{query}")).expect_err(query);
        assert!(matches!(fault, UrlError::Value { .. }), "{fault}");
    }
}

#[test]
fn no_part_of_an_unescaped_password_is_shown() {
    for password in [
        "zq@xw",
        "zq/xw",
        "s@zq/xw",
        "s/zq@xw",
        "s?zq=xw",
        "s?zq&xw",
        "s#zq/xw",
        "1/zqxw",
        "zq:5/zq@xw",
        "s@a?zq=xw",
    ] {
        for host in ["db.example/gate", "db.example:5432/gate?sslmode=disable", "a,b/gate"] {
            let url = format!("postgres://gate:{password}@{host}");
            let shown = match Database::parse(&url, |path| path.into()) {
                Ok(database) => format!("{database} {database:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains("zq") && !shown.contains("xw"), "{url}: {shown}");
        }
    }
    let with_escapes =
        Database::parse("postgres://gate:s%40ec%2Fret@db.example/gate", |path| path.into());
    assert!(with_escapes.is_ok());
}
