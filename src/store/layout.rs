//! Names of what a gate keeps in a directory of its own.
//!
//! ```text
//! license.jwt      the stored license, byte for byte      audit.jsonl      see audit.rs
//! history/ID.jwt   former licenses                        events.json      see outbox.rs
//! revocations.jwt  the list accepted last                 clock            the newest time seen, in seconds
//! jwks.json        keys fetched last                      told.json        what was sent to notify.url last
//! lock             held while a gate runs
//! ```
//!
//! A gate's own copy of a database has the same names.

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

/// More than any token; what is longer is read no further and will not verify.
pub(super) const MAX_TOKEN_BYTES: u64 = 256 * 1024;
/// More than any list of revocations, or of keys, has.
pub(super) const MAX_LIST_BYTES: u64 = 2 * 1024 * 1024;

/// What is kept for one gate alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// The keys of `license.jwks_url` as they were fetched last.
    Jwks,
    /// A digest of the token of `license.file` that was taken last, so that a change while no gate ran is noticed.
    LicenseFile,
    /// What was sent to `notify.url` last. By it a start notices a change that was made while no gate ran.
    Announced,
    /// Audit lines that wait for the database.
    Unrecorded,
}

impl Document {
    const ALL: [Self; 4] = [Self::Jwks, Self::LicenseFile, Self::Announced, Self::Unrecorded];

    /// Its file.
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

/// Whether a file of that name is the gate's.
pub(super) fn is_ours(name: &str) -> bool {
    [LICENSE, LOCK, REVOCATIONS, CLOCK, AUDIT, EVENTS].contains(&name)
        || Document::ALL.iter().any(|document| document.file_name() == name)
        || audit_number(name).is_some()
}

/// The file of the audit log that was rotated away as that number.
pub(super) fn rotated_audit(number: u64) -> String {
    format!("audit.{number}.jsonl")
}

/// The number of the rotated file of that name.
pub(super) fn audit_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("audit.")?.strip_suffix(".jsonl")?.parse().ok()?;
    // Spelled otherwise (`audit.01.jsonl`) it is no name of the gate's, nor is one that has no next.
    (rotated_audit(number) == name && number < u64::MAX).then_some(number)
}

/// The file in `history/` of the former license called `id`.
pub(super) fn former_file(id: &str) -> String {
    format!("{id}.jwt")
}

/// The id of the former license that is kept in a file of that name, and when it was replaced.
pub(super) fn former_in(file_name: &str) -> Option<(&str, UnixTime)> {
    let id = file_name.strip_suffix(".jwt")?;
    Some((id, replaced_at(id)?))
}

/// When the former license called `id` was replaced.
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
