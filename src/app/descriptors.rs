//! File descriptors: the soft limit is raised to what the gate needs, and what there is, is shared out.
//!
//! A client may take one for itself and one for its connection to the dashboard. What the admin listener, the store, the
//! log and the gate's own calls need is set aside first, so that no number of clients keeps them from working.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admin;
use crate::config::Config;
use crate::downstream::MAX_TURNED_AWAY;

/// For the store, databases, the log, watched files, the gate's own calls and the runtime of all these.
const OWN: usize = 48;
/// For a worker's runtime, and a client that is about to be turned away.
const EACH_WORKER: usize = 8;

/// What clients and the dashboard have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Connections of clients: `limits.max_connections`, or fewer.
    pub(super) clients: usize,
    /// Connections to the dashboard.
    pub(super) dashboard: usize,
}

/// Raises the limit to what `config` needs, as far as that can be done. Too few are a warning.
pub(super) fn share(config: &Config, workers: usize) -> Share {
    let wanted = config.downstream.limits.max_connections;
    let each_worker = EACH_WORKER + config.downstream.listen.len();
    let reserved = OWN + admin::MAX_CONNECTIONS + MAX_TURNED_AWAY + workers * each_worker;
    let needed = reserved.saturating_add(wanted.saturating_mul(2));
    let allowed = raise(needed);
    let share = shared(wanted, reserved, allowed);
    if allowed < needed {
        tracing::warn!(
            event = "descriptors.short",
            needed,
            allowed,
            max_connections = wanted,
            clients = share.clients,
            "the limit of file descriptors is too low for limits.max_connections: fewer clients are accepted; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
    share
}

fn shared(wanted: usize, reserved: usize, allowed: usize) -> Share {
    // Where there are hardly any, everybody has too few.
    let left = allowed - reserved.min(allowed / 2);
    let clients = wanted.min((left / 2).max(1));
    // One client may have many requests under way, over HTTP/2.
    Share { clients, dashboard: left.saturating_sub(clients).max(1) }
}

/// The limit there is once it has been raised to `needed`, as far as that can be done.
fn raise(needed: usize) -> usize {
    let as_count = |limit: Option<u64>| {
        limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
    };
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = needed.min(as_count(maximum));
    if as_count(current) >= most {
        return as_count(current);
    }
    let raised = Rlimit { current: u64::try_from(most).ok(), maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => as_count(current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_comes_first_and_clients_have_half_of_the_rest() {
        let cases = [
            // As many as anybody wants.
            (16_384, 150, 150 + 2 * 16_384, (16_384, 16_384)),
            (2, 150, 1024, (2, 872)),
            // What there is.
            (16_384, 150, 1024, (437, 437)),
            (16_384, 150, 256, (64, 64)),
            (16_384, 150, 8, (2, 2)),
            (16_384, 150, 0, (1, 1)),
        ];
        for (wanted, reserved, allowed, (clients, dashboard)) in cases {
            let share = shared(wanted, reserved, allowed);
            assert_eq!(share, Share { clients, dashboard }, "{wanted} of {allowed}");
        }
    }
}
