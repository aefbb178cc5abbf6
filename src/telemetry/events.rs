//! The events of the log: the names that alerts and log searches may rely on.
//!
//! Every warning and every error has an event; so do the lines of lower levels that end an episode or record a change. A name never
//! changes its meaning. `tests/docs` compares this table with the sources, and generates the manual's list from it.

use tracing::Level;

/// An event of the log, as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Value of the field `event`: `area.what_happened`.
    pub name: &'static str,
    /// The levels it is logged at, least severe first.
    pub levels: &'static [Level],
    /// What it means, in one sentence of Markdown.
    pub meaning: &'static str,
    /// What to do, in one sentence of Markdown.
    pub action: &'static str,
}

const fn event(
    name: &'static str,
    levels: &'static [Level],
    meaning: &'static str,
    action: &'static str,
) -> LogEvent {
    LogEvent { name, levels, meaning, action }
}

const DEBUG: &[Level] = &[Level::DEBUG];
const INFO: &[Level] = &[Level::INFO];
const INFO_OR_WARN: &[Level] = &[Level::INFO, Level::WARN];
const WARN: &[Level] = &[Level::WARN];
const ERROR: &[Level] = &[Level::ERROR];
const WARN_OR_ERROR: &[Level] = &[Level::WARN, Level::ERROR];

/// What to do about events that only report.
const NOTHING: &str = "Nothing is needed.";

/// Event of a line that a library logs, which has no name of its own.
pub const LIBRARY: &str = "library";

/// Event of the line that follows dropped lines, which the stream writes itself.
pub const LINES_DROPPED: &str = "log.lines_dropped";

/// Every event, by name.
pub const EVENTS: &[LogEvent] = &[
    event(
        "access.denied",
        INFO,
        "A caller lacks a permission; `access_error_id` is the id that the response has.",
        "Grant the permission in the dashboard, if the caller should have it.",
    ),
    event(
        "admin.accept_failed",
        WARN,
        "The admin listener cannot accept a connection; it tries again.",
        "If `error` is about open files, raise their limit.",
    ),
    event("admin.accepts_again", INFO, "The admin listener accepts connections again.", NOTHING),
    event(
        "audit.copy_failed",
        WARN,
        "Audit lines that wait for the store could not be saved; a restart would lose them.",
        "Check that `store.copy` can be written.",
    ),
    event(
        "audit.line_lost",
        WARN,
        "Too many audit lines wait for the store, and the oldest are lost.",
        "Repair the store.",
    ),
    event(
        "audit.tampered",
        WARN,
        "Another program removed, replaced or changed the audit log; the log continues.",
        "Run `license-gate audit verify` to see where, and find the program.",
    ),
    event(
        "audit.torn_line",
        WARN,
        "An incomplete line at the end of the audit log was cut off; a crash or a full disk left it.",
        "Check the space on the disk.",
    ),
    event(
        "audit.unwritable",
        WARN,
        "The audit log cannot be written, and its lines wait.",
        "Check the space and the permissions of the store.",
    ),
    event(
        "certificate.expired",
        WARN,
        "A certificate in use has expired; it stays in use.",
        "Replace the certificate; a restart is not needed.",
    ),
    event(
        "certificate.not_reloaded",
        WARN,
        "A changed certificate or key cannot be used; the former one stays in use.",
        "Repair the files as `error` says.",
    ),
    event(
        "clock.behind",
        WARN,
        "The clock is behind a time that was seen before; dates are still judged by it.",
        "Correct the clock.",
    ),
    event(
        "config.fault",
        WARN,
        "A reload found a fault in the configuration; nothing has changed.",
        "Repair what `error` names, and reload again.",
    ),
    event(
        "config.needs_restart",
        WARN,
        "Settings have changed that a reload does not apply.",
        "Restart or upgrade the gate when it suits.",
    ),
    event(
        "config.not_reloaded",
        WARN,
        "A reload was refused; the former configuration stays in force.",
        "Repair the faults in the lines that follow, and reload again.",
    ),
    event("config.reloaded", INFO, "The configuration was reloaded.", NOTHING),
    event(
        "config.secret_exposed",
        WARN,
        "Every user can read a file with a secret.",
        "Restrict the mode of the file, for example to 0600.",
    ),
    event(
        "config.warning",
        WARN,
        "A setting is accepted, but may not do what was intended.",
        "Change the setting that the message names.",
    ),
    event("connections.accepted_again", INFO, "There is room for connections again.", NOTHING),
    event(
        "connections.full",
        WARN,
        "`limits.max_connections` is reached, and further connections are refused.",
        "Find the clients with many connections, or raise the limit.",
    ),
    event(
        "database.away",
        WARN,
        "The database does not answer; licenses can be read, not changed.",
        "Check the database and the network as `error` says.",
    ),
    event("database.back", INFO, "The database answers again.", NOTHING),
    event(
        "database.copy_failed",
        WARN,
        "This gate's copy could not be written; a start without the database would use an older one.",
        "Check that `store.copy` can be written.",
    ),
    event(
        "database.license_put_back",
        WARN,
        "The database was empty, and this gate put its license back.",
        "Find out why the database was empty.",
    ),
    event(
        "database.put_back_failed",
        WARN,
        "The database is empty, and this gate cannot put its license back.",
        "Check the database as `error` says.",
    ),
    event(
        "database.silent",
        WARN,
        "The database does not announce changes, as behind a pooler in transaction mode; the gate polls it every second.",
        "Nothing is needed; for fewer queries, connect to the database directly.",
    ),
    event(
        "database.went_back",
        WARN,
        "The database has an older revision than before; it was restored from a backup or created again.",
        "Check that the license in force is the one you want.",
    ),
    event(
        "descriptors.short",
        WARN,
        "The limit of open files is too low for `limits.max_connections`, and fewer clients are accepted.",
        "Raise the hard limit, or lower `limits.max_connections`.",
    ),
    event(
        "fetch.failed",
        WARN,
        "Keys or a revocation list could not be fetched; the former ones stay in use and the gate tries again.",
        "If it lasts, check the URL and the network as `error` says.",
    ),
    event(
        "gate.cannot_start",
        ERROR,
        "The gate cannot start.",
        "Correct what `error` says; `license-gate check-config` finds every fault of the configuration.",
    ),
    event(
        "gate.denied",
        INFO,
        "A gate rule refuses requests; at most one line a minute for each rule, `requests` are those since the last line.",
        "Install a license that the rule requires, or change the rule.",
    ),
    event(
        "gate.grace_ending",
        WARN,
        "The license has expired, and within a day a gate rule begins to refuse requests.",
        "Before `until`, renew an ended token; for an ended license, install the next one, or renew it if the issuer has extended it.",
    ),
    event(
        "gate.panicked",
        ERROR,
        "A task panicked, which is a fault of the gate; the gate continues.",
        "Please report it with this line.",
    ),
    event(
        "gate.product_missing",
        WARN,
        "The license in force does not include the product that a gate rule requires, so that the rule refuses requests, unless it is a dry run.",
        "Ask the issuer for a license with the product, or correct `require` of the rule.",
    ),
    event(
        "gate.thread_panicked",
        ERROR,
        "A thread ended by a panic, which is a fault of the gate.",
        "Please report it with the line `gate.panicked` before it.",
    ),
    event(
        "gate.would_deny",
        INFO,
        "A gate rule with `dry_run` would refuse requests; at most one line a minute for each rule.",
        "Nothing is needed; `requests` are those since the last line.",
    ),
    event(
        "keys.file_broken",
        WARN,
        "A file of issuer keys cannot be read any more; its former keys stay in use.",
        "Repair the file.",
    ),
    event(
        "keys.more_unusable",
        WARN,
        "More issuer keys cannot be used than are logged one by one.",
        "Run `license-gate check-config` to see all of them.",
    ),
    event(
        "keys.none",
        WARN,
        "No issuer key is trusted, and no license can be verified.",
        "Set `license.keys` to the keys of the issuer.",
    ),
    event(
        "keys.none_usable",
        WARN,
        "None of the new issuer keys can be used; the former ones stay in use.",
        "Repair the keys that the lines `keys.unusable` name.",
    ),
    event(
        "keys.not_kept",
        WARN,
        "Fetched keys could not be stored for the next start.",
        "Check the store as `error` says.",
    ),
    event(
        "keys.unusable",
        WARN,
        "An issuer key cannot be used.",
        "Repair or remove the key as `error` says.",
    ),
    event(
        LIBRARY,
        WARN_OR_ERROR,
        "A library that the gate uses reports something; `target` names the library.",
        "If it repeats, please report it.",
    ),
    event(
        "license.expires_soon",
        WARN,
        "The license, its trial or its token ends within its warning days.",
        "Renew the token; for the license or its trial, install the next license, or renew this one if the issuer has extended it.",
    ),
    event(
        "license.key_lost",
        WARN,
        "The key of the license is not trusted any more; the license counts for one more hour.",
        "Put the key back, or install a license that is signed with a trusted key.",
    ),
    event(
        "license.key_trusted",
        INFO,
        "The key of a license is trusted again, or for the first time.",
        NOTHING,
    ),
    event(
        "license.none",
        WARN,
        "No license is in force; `reason` says why one that is stored, or in `license.file`, is not used.",
        "Do as `reason` says; without it, install a license.",
    ),
    event("license.none_to_remove", INFO, "A removal found no stored license.", NOTHING),
    event(
        "license.not_valid",
        WARN,
        "The license is not valid; `reason` says why.",
        "Install a license that is valid; the dashboard stays available meanwhile.",
    ),
    event("license.removed", INFO, "The stored license was removed.", NOTHING),
    event("license.stored", INFO, "A license was installed, renewed or put back.", NOTHING),
    event(
        "license.time_implausible",
        WARN,
        "A stored or mounted license has a time that cannot be right; it is used, and any renewed one replaces it.",
        "Ask the issuer for a new license.",
    ),
    event(
        "license_file.not_used",
        WARN,
        "The token of `license.file` verifies but is not accepted; the former one stays.",
        "Replace the token as `reason` says.",
    ),
    event(
        "license_file.not_valid",
        WARN,
        "The new token of `license.file` is not valid now; the former one counts as long as it is.",
        "Nothing if it becomes valid later; otherwise replace the token as `reason` says.",
    ),
    event(
        "license_file.not_verified",
        WARN,
        "The token of `license.file` cannot be verified with the present keys; the former one stays.",
        "Add the key of its issuer to `license.keys`.",
    ),
    event(
        "license_file.refused",
        WARN,
        "`license.file` contains no license that verifies; the former one stays.",
        "Replace the file as `reason` says.",
    ),
    event(
        "license_file.stays",
        INFO,
        "The stored license was removed, and the one of `license.file` is in force.",
        "Nothing; to remove that license too, unset `license.file` and restart the gate.",
    ),
    event(
        "license_file.unreadable",
        WARN,
        "`license.file` cannot be read; the former license stays.",
        "Check the file as `error` says.",
    ),
    event(
        "listener.accept_failed",
        WARN,
        "Connections cannot be accepted; the gate tries again.",
        "If `error` is about open files, raise their limit.",
    ),
    event("listener.accepts_again", INFO, "Connections are accepted again.", NOTHING),
    event(
        "listener.failed",
        ERROR,
        "A worker cannot listen on an address.",
        "Restart the gate, and check the system as `error` says.",
    ),
    event(
        "log.level_changed",
        INFO,
        "The log level was changed through the admin listener; this is logged at every level.",
        NOTHING,
    ),
    event(
        LINES_DROPPED,
        WARN,
        "The reader of a log stream did not keep up, and `lines` lines were dropped.",
        "Check the reader, such as a log shipper or a full disk.",
    ),
    event(
        "log.reader_stalled",
        WARN,
        "Lines of the access log are dropped, because their reader does not keep up or cannot write them; `dropped` of them since the start.",
        "Check the reader of standard output, such as a log shipper or a full disk.",
    ),
    event(
        "notify.failed",
        WARN,
        "The webhook did not accept an event; it is sent again.",
        "If it lasts, check the receiver as `error` says.",
    ),
    event(
        "notify.given_up",
        ERROR,
        "The webhook did not accept an event for three days, and the event was dropped.",
        "Repair the receiver, and read in the log what happened meanwhile.",
    ),
    event(
        "notify.not_queued",
        WARN,
        "An event could not be queued; that is tried again.",
        "Check the store as `error` says.",
    ),
    event(
        "notify.queue_damaged",
        WARN,
        "The queue of events could not be read and was renamed; its events are not sent.",
        "Find out what changed the file in the store.",
    ),
    event(
        "notify.queue_full",
        WARN,
        "Too many events wait, and the oldest was dropped.",
        "Check the receiver of `notify.url`.",
    ),
    event(
        "random.none",
        WARN,
        "The system gives no random bytes; ids of requests may repeat those of an earlier run.",
        "Check the system's random generator.",
    ),
    event(
        "renewal.failed",
        WARN,
        "The license could not be renewed; it has not changed and the renewal is tried again.",
        "If it lasts, check `renewal.url` and the issuer as `error` says.",
    ),
    event(
        "request.failed",
        WARN,
        "Requests fail with this `code`; repeated at most once a minute.",
        "See `cause`; `request_id` leads to the line of the access log.",
    ),
    event(
        "request.recovered",
        INFO,
        "Requests that failed with this `code` no longer do.",
        NOTHING,
    ),
    event(
        "revocations.not_stored",
        WARN,
        "The revocation list could not be stored and is not used yet; that is tried again.",
        "Check the store as `error` says.",
    ),
    event(
        "revocations.put_back",
        WARN,
        "The database had no revocation list, or an older one, and this gate put the newest back.",
        "Find out why the database had lost it.",
    ),
    event(
        "revocations.put_back_failed",
        WARN,
        "The database has no revocation list, or an older one, and this gate cannot put the newest back; it tries again.",
        "Check the database as `error` says.",
    ),
    event(
        "revocations.refused",
        WARN,
        "The revocation list is not accepted; what was revoked stays revoked.",
        "Replace the list as `error` says.",
    ),
    event(
        "revocations.unreadable",
        WARN,
        "The revocation list cannot be read; what was revoked stays revoked.",
        "Check the file as `error` says.",
    ),
    event(
        "server.replaced",
        WARN,
        "A test build serves HTTP/1.1 with hyper.",
        "Use a released build.",
    ),
    event(
        "store.attention",
        WARN,
        "Something in the store was not as expected at the start.",
        "Do what `error` says.",
    ),
    event(
        "store.change_doubtful",
        WARN,
        "A change in the database does not verify and was not applied as it is.",
        "Find out who wrote to the database.",
    ),
    event(
        "store.directory_closed",
        WARN,
        "The mode of the store's directory was set to 0700.",
        "Let readers of the audit log, such as a backup, run as the gate's user.",
    ),
    event(
        "store.directory_shared",
        WARN,
        "Other users can enter or write the store's directory.",
        "Give the gate a directory of its own with mode 0700.",
    ),
    event(
        "store.file_closed",
        INFO_OR_WARN,
        "The mode of a file in the store's directory was set to 0600; WARN if every user could write it.",
        "After a WARN, check that the file was not changed.",
    ),
    event(
        "store.file_refused",
        WARN,
        "An entry of the store's directory is not used.",
        "Remove the entry, or correct its owner as `reason` says.",
    ),
    event(
        "store.file_set_aside",
        WARN,
        "An entry of the store's directory that is not the gate's own was renamed.",
        "Check the entry, and remove it.",
    ),
    event(
        "store.file_shared",
        WARN,
        "Other users can write a file of the store's directory, and its mode could not be changed.",
        "Set its mode to 0600.",
    ),
    event(
        "store.unwritable",
        WARN,
        "The store cannot be written; changes are refused.",
        "Check its space and permissions as `error` says.",
    ),
    event("store.writable", INFO, "The store can be written again.", NOTHING),
    event(
        "systemd.unreachable",
        WARN,
        "A report to systemd failed: `NOTIFY_SOCKET` cannot be used.",
        "Let the sandbox of the unit contain the socket; the gate serves without reports.",
    ),
    event(
        "systemd.watchdog_off",
        WARN,
        "The value of `WATCHDOG_USEC` is not a number, so that systemd gets no watchdog reports.",
        "Correct `WatchdogSec=` of the unit.",
    ),
    event(
        "tls.plain_http",
        WARN,
        "A client sends plain HTTP to a TLS listener.",
        "Use `https://` in the client; `client.address` is its address.",
    ),
    event("upgrade.began", INFO, "A new process was started to take over.", NOTHING),
    event(
        "upgrade.done",
        INFO,
        "The new process serves, and the former one finishes its requests.",
        NOTHING,
    ),
    event(
        "upgrade.failed",
        ERROR,
        "The new process did not take over, and the former one continues.",
        "Repair what `error` and the lines of the new process say, and upgrade again.",
    ),
    event(
        "upgrade.sources_lost",
        ERROR,
        "After an upgrade that failed, files of the license cannot be read again.",
        "Repair the files that `error` names; the gate tries again every 2 s.",
    ),
    event(
        "upgrade.store_lost",
        ERROR,
        "After an upgrade that failed, another process still holds the store.",
        "Find the process with the data directory open, and end it; the gate tries again every 2 s.",
    ),
    event(
        "upstream.down",
        WARN,
        "The dashboard has been down for a second or more; `cause` says what the last contact met.",
        "Check that the dashboard runs, and `upstream.url`.",
    ),
    event(
        "upstream.surplus",
        DEBUG,
        "A connection to the dashboard had unexpected bytes and was closed.",
        "Nothing; if it repeats, the dashboard frames its responses wrongly.",
    ),
    event("upstream.up", INFO, "The dashboard is up again.", NOTHING),
    event(
        "worker.late",
        WARN,
        "A worker was too busy to follow a reload or an upgrade at once; it follows later.",
        "If it happens again, look at the load of the machine.",
    ),
    event(
        "worker.stuck",
        ERROR,
        "A worker makes no progress, and the watchdog of systemd gets no report.",
        "Nothing, if systemd restarts the gate; report it with the log.",
    ),
];
