//! `~/.netrc`: user names and passwords by host, as curl and ftp read them.
//!
//! `machine HOST login USER password PASSWORD`, over any number of lines; `default` stands for every host; a macro
//! (`macdef`) ends at an empty line; `#` begins a comment. A word in double quotes may contain spaces, and `\"`, `\\`, `\n`,
//! `\r`, `\t`. Errors name lines, and never quote the file.

use crate::license::printable;

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Login(...)")
    }
}

/// Why a file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "line {0} is not that of a .netrc file: write `machine HOST login USER password PASSWORD`"
    )]
    Word(usize),
    #[error("line {line}: `{word}` is followed by nothing")]
    Incomplete { line: usize, word: &'static str },
    #[error(
        "has no entry for {0} with login and password: add `machine {0} login USER password PASSWORD`"
    )]
    NoEntry(String),
    #[error(
        "has no entry for {host} with login {user} (LICENSE_GATE_USER) and password: add one, or unset that variable"
    )]
    NoEntryOf { host: String, user: String },
}

#[derive(Default)]
struct Entry {
    user: Option<String>,
    password: Option<String>,
}

/// The first complete login for `host`, with the name `user` if that is given.
pub(super) fn login(text: &str, host: &str, user: Option<&str>) -> Result<Login, Error> {
    let mut words = Words { rest: text, line: 1 };
    let (mut entry, mut complete) = (None::<Entry>, Vec::new());
    while let Some((line, word)) = words.next() {
        let mut value = |word| match words.next() {
            Some((_, value)) => Ok(value),
            None => Err(Error::Incomplete { line, word }),
        };
        match (&*word, &mut entry) {
            ("machine", _) => {
                complete.extend(entry.take());
                let is_host = value("machine")?.eq_ignore_ascii_case(host);
                // An entry for another host is read, and dropped.
                entry = Some(Entry::default());
                if !is_host {
                    skip(&mut words)?;
                    entry = None;
                }
            }
            ("default", _) => {
                complete.extend(entry.take());
                entry = Some(Entry::default());
            }
            ("login", Some(entry)) => entry.user = Some(value("login")?),
            ("password", Some(entry)) => entry.password = Some(value("password")?),
            ("account", Some(_)) => drop(value("account")?),
            ("macdef", _) => words.skip_macro(),
            _ => return Err(Error::Word(line)),
        }
    }
    complete.extend(entry);
    let logins = complete
        .into_iter()
        .filter_map(|entry| Some(Login { user: entry.user?, password: entry.password? }));
    let mut logins = logins.filter(|login| user.is_none_or(|user| login.user == user));
    let host = host.to_owned();
    logins.next().ok_or_else(|| match user {
        Some(user) => Error::NoEntryOf { host, user: printable(user) },
        None => Error::NoEntry(host),
    })
}

/// Reads the rest of an entry.
fn skip(words: &mut Words<'_>) -> Result<(), Error> {
    loop {
        let before = Words { ..*words };
        let Some((line, word)) = words.next() else { return Ok(()) };
        let name = match &*word {
            "login" => "login",
            "password" => "password",
            "account" => "account",
            "machine" | "default" | "macdef" => {
                *words = before;
                return Ok(());
            }
            _ => return Err(Error::Word(line)),
        };
        if words.next().is_none() {
            return Err(Error::Incomplete { line, word: name });
        }
    }
}

/// The words of a file, each with its line.
struct Words<'a> {
    rest: &'a str,
    line: usize,
}

impl Words<'_> {
    fn skip_macro(&mut self) {
        // Up to an empty line.
        let end = ["\n\n", "\n\r\n"].into_iter().filter_map(|end| self.rest.find(end)).min();
        self.advance(end.unwrap_or(self.rest.len()));
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line += passed.matches('\n').count();
        self.rest = rest;
    }
}

impl Iterator for Words<'_> {
    type Item = (usize, String);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.advance(self.rest.len() - self.rest.trim_start().len());
            if !self.rest.starts_with('#') {
                break;
            }
            self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
        let line = self.line;
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (mut word, mut characters) = (String::new(), quoted.char_indices());
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        self.advance(1 + at + 1);
                        return Some((line, word));
                    }
                    '\\' => word.extend(characters.next().map(|(_, escaped)| match escaped {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        other => other,
                    })),
                    other => word.push(other),
                }
            }
            // Without its end, the quote is part of the word.
        }
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.advance(end);
        (!word.is_empty()).then_some((line, word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, user: Option<&str>) -> Result<(String, String), Error> {
        login(text, "gate.example", user).map(|login| (login.user, login.password))
    }

    #[test]
    fn the_first_complete_entry_of_the_host_counts() {
        let cases = [
            ("machine gate.example login a password b", "a", "b"),
            ("machine GATE.example\n\tlogin a\n\tpassword b\n", "a", "b"),
            ("machine other login x password y\nmachine gate.example login a password b", "a", "b"),
            ("machine gate.example login x\nmachine gate.example login a password b", "a", "b"),
            (
                "machine gate.example password b account c login a\ndefault login x password y",
                "a",
                "b",
            ),
            ("machine other login x password y default login a password b", "a", "b"),
            ("# machine gate.example\nmachine gate.example login a password b # c", "a", "b"),
            ("machine gate.example login a password p#1", "a", "p#1"),
            ("machine gate.example login \"a b\" password \"c\\\"d\\\\e\"", "a b", "c\"d\\e"),
            ("machine gate.example login a password \"b", "a", "\"b"),
            ("macdef init\ncd /\nlogin x\n\nmachine gate.example login a password b", "a", "b"),
            (
                "machine other login machine password default\r\nmachine gate.example login a password b",
                "a",
                "b",
            ),
            ("machine gate.example login a password b\r\n", "a", "b"),
        ];
        for (text, user, password) in cases {
            assert_eq!(found(text, None), Ok((user.to_owned(), password.to_owned())), "{text:?}");
        }
        let two = "machine gate.example login a password b machine gate.example login c password d";
        assert_eq!(found(two, Some("c")), Ok(("c".to_owned(), "d".to_owned())));
        assert!(matches!(found(two, Some("e")), Err(Error::NoEntryOf { .. })));
    }

    #[test]
    fn what_is_not_such_a_file_is_refused_by_line() {
        let none = || Error::NoEntry("gate.example".to_owned());
        for (text, error) in [
            ("", none()),
            ("machine gate.example login a", none()),
            ("machine other login a password b", none()),
            ("\nhunter2", Error::Word(2)),
            ("login a password b", Error::Word(1)),
            ("machine other\nuser a", Error::Word(2)),
            ("machine", Error::Incomplete { line: 1, word: "machine" }),
            (
                "machine gate.example\nlogin a\npassword",
                Error::Incomplete { line: 3, word: "password" },
            ),
            ("machine other\nlogin", Error::Incomplete { line: 2, word: "login" }),
        ] {
            assert_eq!(found(text, None), Err(error), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(machine|login|password|macdef|default|gate\\.example|\"|\\\\|#|\n| |é|x)*") {
            let _ = found(&text, None);
        }
    }
}
