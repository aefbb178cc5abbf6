//! Stands in until the audit log is there.

use serde_json::json;

use super::backend::{Brief, Record};

/// A line, without its newline.
pub(super) fn line(record: &Record, prev: &str) -> String {
    let brief = |brief: &Option<Brief>| {
        brief.as_ref().map(|b| json!({"jti": b.jti, "lid": b.lid, "status": b.status}))
    };
    json!({
        "time": record.time.to_string(),
        "actor": record.actor,
        "address": record.address,
        "action": record.action.as_str(),
        "outcome": record.outcome.as_str(),
        "reason": record.reason,
        "old": brief(&record.old),
        "new": brief(&record.new),
        "request_id": record.request_id,
        "prev": prev,
    })
    .to_string()
}
