//! Names of the files in a store's directory.
//!
//! ```text
//! license.jwt      the stored license, byte for byte      audit.jsonl      see audit.rs
//! history/ID.jwt   former licenses                        events.json      see outbox.rs
//! revocations.jwt  the list accepted last                 clock            the newest time seen, in seconds
//! jwks.json        keys fetched last                      told.json        state of the events sent last
//! lock             held while a gate runs                 unrecorded.json  audit lines that wait for the database
//! ```
//!
//! A gate's own copy of a database uses the same names.

use crate::clock::UnixTime;

pub(super) const LICENSE: &str = "license.jwt";
pub(super) const LOCK: &str = "lock";
pub(super) const HISTORY: &str = "history";
pub(super) const REVOCATIONS: &str = "revocations.jwt";
pub(super) const CLOCK: &str = "clock";
pub(super) const AUDIT: &str = "audit.jsonl";
pub(super) const EVENTS: &str = "events.json";

/// Bytes of a token's digest in the id of a former license.
pub(super) const DIGEST_BYTES: usize = 8;

/// More than any token has. A longer file is cut off there, and does not verify.
pub(super) const MAX_TOKEN_BYTES: u64 = 256 * 1024;
/// More than any revocation list or key set has.
pub(super) const MAX_LIST_BYTES: u64 = 2 * 1024 * 1024;

/// A document that is kept for one gate alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// The keys of `license.jwks_url`, as fetched last.
    Jwks,
    /// Digest of the token of `license.file` that was recorded last. Shows at a start whether the file has changed.
    LicenseFile,
    /// The state that was announced to `notify.url` last. Shows at a start whether the license has changed.
    Announced,
    /// Audit lines that wait for the database.
    Unrecorded,
}

impl Document {
    const ALL: [Self; 4] = [Self::Jwks, Self::LicenseFile, Self::Announced, Self::Unrecorded];

    pub(super) const fn file_name(self) -> &'static str {
        match self {
            Self::Jwks => "jwks.json",
            Self::LicenseFile => "license-file.sha256",
            // The name that earlier builds wrote: under another one, an upgrade would lose what they kept.
            Self::Announced => "told.json",
            Self::Unrecorded => "unrecorded.json",
        }
    }
}

/// Whether a gate uses a file of that name.
pub(super) fn is_ours(name: &str) -> bool {
    [LICENSE, LOCK, REVOCATIONS, CLOCK, AUDIT, EVENTS].contains(&name)
        || Document::ALL.iter().any(|document| document.file_name() == name)
        || audit_number(name).is_some()
}

/// The rotated audit file with that number.
pub(super) fn rotated_audit(number: u64) -> String {
    format!("audit.{number}.jsonl")
}

/// The number of the rotated audit file of that name.
pub(super) fn audit_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("audit.")?.strip_suffix(".jsonl")?.parse().ok()?;
    // The gate writes no other spelling (`audit.01.jsonl`), and no number that has no successor.
    (rotated_audit(number) == name && number < u64::MAX).then_some(number)
}

/// The file in `history/` of the former license with that id.
pub(super) fn former_file(id: &str) -> String {
    format!("{id}.jwt")
}

/// The id of the former license in a file of that name, and when it was replaced.
pub(super) fn former_in(file_name: &str) -> Option<(&str, UnixTime)> {
    let id = file_name.strip_suffix(".jwt")?;
    Some((id, replaced_at(id)?))
}

/// When the former license with that id was replaced. `None`: no gate made this id.
pub(super) fn replaced_at(id: &str) -> Option<UnixTime> {
    let (number, rest) = id.split_once('-')?;
    number.parse::<u64>().ok()?;
    // Earlier versions wrote no digest.
    let (seconds, digest) = rest.split_once('-').map_or((rest, None), |(s, d)| (s, Some(d)));
    let is_digest = |text: &str| {
        text.len() == 2 * DIGEST_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let seconds = seconds.parse().ok().filter(|_| digest.is_none_or(is_digest));
    seconds.map(UnixTime::from_secs)
}
