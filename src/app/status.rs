//! Readiness and the license in force, for `systemctl status`.

use std::sync::Arc;

use crate::admin::{Probed, license_phrase};
use crate::store::Snapshot;
use crate::systemd::Systemd;

/// Reports that the gate is ready. Returns the status line.
pub(super) fn ready(systemd: &Systemd, probed: &Probed) -> String {
    let status = phrase(probed, &probed.reader.snapshot());
    systemd.ready(&status);
    status
}

/// Reports each change of the status line, which is `last` at first.
pub(super) async fn keep(systemd: Systemd, probed: Arc<Probed>, mut last: String) {
    let mut changes = probed.reader.changes();
    loop {
        let now = probed.clock.now();
        let snapshot = probed.reader.snapshot();
        let current = phrase(&probed, &snapshot);
        if current != last {
            systemd.status(&current);
            last = current;
        }
        let turn = snapshot.next_turn(now);
        let turned = async {
            match turn {
                Some(turn) => probed.clock.reached(turn).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = turned => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

fn phrase(probed: &Probed, snapshot: &Snapshot) -> String {
    format!("license: {}", license_phrase(snapshot, probed.clock.now()))
}
