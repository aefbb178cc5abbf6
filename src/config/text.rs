//! Parses paths, store URLs, JSON pointers, cookie names and choices.

use std::path::PathBuf;

use http::uri::PathAndQuery;

use super::fault::{Fault, Origin};
use super::value::Value;
#[cfg(feature = "postgres")]
use crate::store::Database;
use crate::store::Location;

/// Text that must not be empty.
pub(super) fn name(value: &Value) -> Result<String, Fault> {
    match value.text()? {
        "" => Err(value.fault("is empty")),
        text => Ok(text.to_owned()),
    }
}

/// Text that may be empty.
pub(super) fn any(value: &Value) -> Result<String, Fault> {
    value.text().map(str::to_owned)
}

/// A path. In the configuration file it is relative to that file, elsewhere to the working directory.
pub(super) fn path(value: &Value) -> Result<PathBuf, Fault> {
    let path = name(value)?;
    if path.starts_with("http://") || path.starts_with("https://") {
        // Not quoted: it may contain a password.
        let url = if value.key == "license.keys" { ": license.jwks_url takes one" } else { "" };
        return Err(value.fault(format!("takes a path, not a URL{url}")));
    }
    Ok(anchored(value, &path))
}

/// A path; an empty string is `None`.
pub(super) fn optional_path(value: &Value) -> Result<Option<PathBuf>, Fault> {
    if value.text()?.is_empty() { Ok(None) } else { path(value).map(Some) }
}

pub(super) fn anchored(value: &Value, path: &str) -> PathBuf {
    match &value.origin {
        Origin::File(file, _) => file.parent().unwrap_or(file).join(path),
        _ => path.into(),
    }
}

/// `store.url`: `file:DIR`, or `postgres://…`.
pub(super) fn place(value: &Value) -> Result<Location, Fault> {
    let url = value.text()?;
    match url.starts_with("postgres://") || url.starts_with("postgresql://") {
        true => database(value, url),
        false => directory(value, url).map(Location::File),
    }
}

#[cfg(feature = "postgres")]
fn database(value: &Value, url: &str) -> Result<Location, Fault> {
    let database = Database::parse(url, |path| anchored(value, path));
    database.map(|database| Location::Postgres(Box::new(database))).map_err(|error| {
        // Not quoted: the URL contains a password.
        value.fault(error.to_string())
    })
}

#[cfg(not(feature = "postgres"))]
fn database(value: &Value, _: &str) -> Result<Location, Fault> {
    let message = "is a database, which this build does not support: use a license-gate with the feature \"postgres\"";
    Err(value.fault(message))
}

fn directory(value: &Value, url: &str) -> Result<PathBuf, Fault> {
    // Not quoted: it may be a database URL with a password.
    let Some(dir) = url.strip_prefix("file:") else {
        return Err(value.fault("is neither file:DIR nor postgres://…"));
    };
    let dir = match dir.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err(value.fault("names a host: write file:DIR or file:///DIR")),
        None => dir,
    };
    if dir.is_empty() {
        Err(value.fault("has no directory: write file:DIR"))
    } else {
        Ok(anchored(value, dir))
    }
}

/// A path of the dashboard's API, as in a request line.
pub(super) fn target(value: &Value) -> Result<String, Fault> {
    let text = value.text()?;
    let visible =
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !visible || text.starts_with("//") || text.parse::<PathAndQuery>().is_err() {
        return Err(value.fault(format!("{text:?} is not a path such as \"/api/user\"")));
    }
    Ok(text.to_owned())
}

/// As [`target`]; `None` for an empty string, which means none.
pub(super) fn optional_target(value: &Value) -> Result<Option<String>, Fault> {
    if value.text()?.is_empty() { Ok(None) } else { target(value).map(Some) }
}

/// A JSON pointer to a field (RFC 6901): `/field`, `~0` for `~`, `~1` for `/`.
pub(super) fn pointer(value: &Value) -> Result<String, Fault> {
    let text = value.text()?;
    let mut escapes = text.split('~').skip(1);
    if !text.starts_with('/') || !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        return Err(
            value.fault(format!("{text:?} is not a JSON pointer such as \"/isGrafanaAdmin\""))
        );
    }
    Ok(text.to_owned())
}

/// The name of a cookie: a token (RFC 9110 section 5.6.2).
pub(super) fn cookie(value: &Value) -> Result<String, Fault> {
    let text = value.text()?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(value.fault(format!("{text:?} cannot be the name of a cookie")));
    }
    Ok(text.to_owned())
}

/// One of the `known` words, in any case.
pub(super) fn one_of<T: Copy>(value: &Value, known: &[(&str, T)]) -> Result<T, Fault> {
    let text = value.text()?;
    let found = known.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        value.fault(format!("{text:?} is not one of {}", words.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Kind;
    use std::path::Path;

    fn written(text: &str) -> Value {
        let origin = Origin::File(Path::new("etc/gate.toml").into(), 1);
        Value { key: "k".into(), origin, kind: Kind::Text(text.into()) }
    }

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        assert_eq!(path(&written("a/b")).expect("good"), Path::new("etc/a/b"));
        assert_eq!(path(&written("/a")).expect("good"), Path::new("/a"));
        let word = Value { origin: Origin::Flag("--x"), ..written("a") };
        assert_eq!(path(&word).expect("good"), Path::new("a"));
        for text in ["", "a\nb", "a\0"] {
            assert!(path(&written(text)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn directories_of_the_store() {
        let good = [("file:d", "etc/d"), ("file:/d", "/d"), ("file:///d/e", "/d/e")];
        for (text, expected) in good {
            assert_eq!(place(&written(text)).expect(text), Location::File(expected.into()));
        }
        for text in ["", "d", "file:", "file://host/d", "redis://u:secret@h/d"] {
            let fault = place(&written(text)).expect_err(text).to_string();
            assert!(!fault.contains("secret"), "{fault}");
        }
    }

    #[test]
    #[cfg(feature = "postgres")]
    fn a_store_may_be_a_database() {
        let url = "postgres://u:secret@h/d?sslrootcert=ca.pem";
        let Location::Postgres(database) = place(&written(url)).expect(url) else {
            panic!("{url}")
        };
        assert!(database.to_string().contains("sslrootcert=etc/ca.pem"), "{database}");
        let fault = place(&written("postgres://u:secret@h/d?sslmode=prefer")).expect_err("lax");
        let fault = fault.to_string();
        assert!(fault.contains("sslmode=verify-full") && !fault.contains("secret"), "{fault}");
    }

    #[test]
    #[cfg(not(feature = "postgres"))]
    fn a_database_needs_the_feature() {
        let fault = place(&written("postgres://u:secret@h/d")).expect_err("not built").to_string();
        assert!(fault.contains("feature") && !fault.contains("secret"), "{fault}");
    }

    #[test]
    fn paths_pointers_and_cookies() {
        for text in ["/a", "/a/b?c=d", "/a%20b"] {
            assert!(target(&written(text)).is_ok(), "{text}");
        }
        for text in ["", "a", "//a", "/a b", "/a#b", "/a\r\nX: y", "/ä", "http://a/b"] {
            assert!(target(&written(text)).is_err(), "{text}");
        }
        for text in ["/a", "/a/0/~0~1", "/"] {
            assert!(pointer(&written(text)).is_ok(), "{text}");
        }
        for text in ["", "a", "/~", "/~2", "/a~"] {
            assert!(pointer(&written(text)).is_err(), "{text}");
        }
        assert!(cookie(&written("grafana_session")).is_ok());
        for text in ["", "a b", "a=b", "a;b", "a\r\nb"] {
            assert!(cookie(&written(text)).is_err(), "{text}");
        }
    }
}
