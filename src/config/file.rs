//! Reads the configuration file: TOML text into settings with line numbers.
//!
//! Tables become keys with dots. A part that is not a bare TOML key stays quoted, so that `"server.listen" = 1` is not
//! mistaken for `server.listen`. [`super::keys`] decides whether a key exists.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults, Origin};
use super::keys;
use super::value::{Kind, Value};

/// A configuration file is far smaller. A larger file was named by mistake.
const MAX_BYTES: usize = 1024 * 1024;

/// What a file contains.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// In the order of its lines.
    pub(super) settings: Vec<Value>,
    /// The tables without a setting, such as an empty `[server.tls]`, and where each is written.
    pub(super) empty: BTreeMap<String, Origin>,
}

/// The content of the file at `path`.
pub(super) fn read(path: &Path) -> Result<Content, Faults> {
    let whole = Origin::File(path.into(), 0);
    let bytes = read_whole(path)
        .map_err(|error| Fault::new(whole.clone(), "", "cannot be read").caused_by(error))?;
    if bytes.len() > MAX_BYTES {
        return Err(Fault::new(whole, "", "is larger than 1 MiB").into());
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(path, &error))?;
    TomlFile::new(path, &text).content()
}

/// Reads at most one byte more than allowed: a file named by mistake, such as /dev/zero, may be endless.
fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> Fault {
    let line = line_of(error.as_bytes(), error.utf8_error().valid_up_to());
    Fault::new(Origin::File(path.into(), line), "", "is not UTF-8 text")
}

fn line_of(text: &[u8], offset: usize) -> usize {
    memchr::memchr_iter(b'\n', &text[..offset.min(text.len())]).count() + 1
}

struct TomlFile<'a> {
    path: Arc<Path>,
    text: &'a str,
}

impl<'a> TomlFile<'a> {
    fn new(path: &Path, text: &'a str) -> Self {
        Self { path: path.into(), text }
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File(Arc::clone(&self.path), line_of(self.text.as_bytes(), span.start))
    }

    fn content(&self) -> Result<Content, Faults> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        if !errors.is_empty() {
            return Err(self.syntax(&errors));
        }
        let mut content = Content::default();
        self.flatten("", document.get_ref(), &mut content);
        content.settings.sort_by(|one, other| one.origin.cmp(&other.origin));
        Ok(content)
    }

    /// The first error of each line. Later errors of a line mostly follow from the first.
    fn syntax(&self, errors: &[toml::de::Error]) -> Faults {
        let mut faults: Vec<Fault> = errors
            .iter()
            .map(|error| {
                let end = self.text.len()..self.text.len();
                let origin = self.origin(error.span().unwrap_or(end));
                Fault::new(origin, "", format!("not TOML: {}", error.message()))
            })
            .collect();
        faults.dedup_by(|later, first| later.origin() == first.origin());
        let mut all = Faults::default();
        all.extend(faults);
        all
    }

    fn flatten(&self, prefix: &str, table: &DeTable<'_>, content: &mut Content) {
        for (name, value) in table.iter() {
            let key = join(prefix, name.get_ref());
            let origin = self.origin(name.span());
            match value.get_ref() {
                DeValue::Table(inner) if keys::is_section(&key) && inner.is_empty() => {
                    content.empty.insert(key, origin);
                }
                DeValue::Table(inner) if !inner.is_empty() && !keys::takes_tables(&key) => {
                    self.flatten(&key, inner, content);
                }
                other => content.settings.push(Value { kind: self.kind(&key, other), key, origin }),
            }
        }
    }

    fn kind(&self, key: &str, value: &DeValue<'_>) -> Kind {
        match value {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(number) => Kind::Integer(whole(number)),
            DeValue::Boolean(value) => Kind::Boolean(*value),
            DeValue::Float(_) => Kind::Other("a fraction"),
            DeValue::Datetime(_) => Kind::Other("a date"),
            DeValue::Array(elements) => Kind::List(
                elements
                    .iter()
                    .map(|element| Value {
                        key: key.to_owned(),
                        origin: self.origin(element.span()),
                        kind: self.kind(key, element.get_ref()),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Kind::Table(self.fields(key, table)),
        }
    }

    /// The settings of one `[[table]]`, as a nested list.
    fn fields(&self, key: &str, table: &DeTable<'_>) -> Vec<Value> {
        let fields = table.iter().map(|(name, value)| {
            let key = join(key, name.get_ref());
            let kind = self.kind(&key, value.get_ref());
            Value { kind, key, origin: self.origin(name.span()) }
        });
        fields.collect()
    }
}

/// The number in decimal, also if it was written in another base; unchanged if it is too large for any setting.
fn whole(number: &toml::de::DeInteger<'_>) -> String {
    i128::from_str_radix(number.as_str(), number.radix())
        .map_or_else(|_| number.to_string(), |whole| whole.to_string())
}

fn join(prefix: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if prefix.is_empty() { name } else { format!("{prefix}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, usize)> {
        let content = TomlFile::new(Path::new("f"), text).content().expect("good TOML");
        let settings = content.settings.into_iter();
        settings
            .map(|value| match value.origin {
                Origin::File(_, line) => (value.key, line),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn every_setting_has_its_line() {
        let text =
            "[server]\n\nworkers = 1\ntls.cert_file = \"a\"\n[log]\nlevel='x'\n\"a.b\" = 1\n";
        let expected = [
            ("server.workers", 3),
            ("server.tls.cert_file", 4),
            ("log.level", 6),
            ("log.\"a.b\"", 7),
        ];
        assert_eq!(lines(text), expected.map(|(key, line)| (key.to_owned(), line)));
    }

    #[test]
    fn every_element_of_a_list_has_its_line() {
        let content = TomlFile::new(Path::new("f"), "a = [\n 'x',\n 0x10,\n]").content();
        let settings = content.expect("good TOML").settings;
        let Kind::List(elements) = &settings[0].kind else { panic!("no list") };
        assert!(matches!(&elements[1].kind, Kind::Integer(digits) if digits == "16"));
        assert_eq!(elements[1].origin, Origin::File(Path::new("f").into(), 3));
    }

    #[test]
    fn a_syntax_error_has_its_line_and_quotes_nothing() {
        let text = "a = 1\nsecret = \"hunter2\nb = 2\na = 3\n";
        let faults = TomlFile::new(Path::new("f"), text).content().expect_err("bad TOML");
        assert!(faults.to_string().contains("f:2: not TOML"), "{faults}");
        assert!(!faults.to_string().contains("hunter2"), "{faults}");
    }
}
