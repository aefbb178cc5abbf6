//! File descriptors: raises the soft limit to what the gate needs, and divides what it gets.
//!
//! A client takes one descriptor for itself and one for its connection to the dashboard. The descriptors of the admin
//! listener, the store, the log and the gate's own calls are reserved first; clients cannot take them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admin;
use crate::config::Config;
use crate::downstream::MAX_TURNED_AWAY;

/// Reserved for the store, databases, the log, watched files, the gate's own calls and their runtime.
const OWN: usize = 48;
/// Reserved for a worker's runtime, and for a client that has been accepted and not yet refused.
const EACH_WORKER: usize = 8;
/// Of each listening socket: the worker's.
const EACH_SOCKET: usize = 1;
/// Of each listening socket, for upgrades: the original, the one for another process, and its copy while an upgrade starts that process.
const EACH_SOCKET_UPGRADE: usize = 3;
/// For an upgrade: the socket of the admin listener, and what starting a process takes.
const UPGRADE: usize = EACH_SOCKET + EACH_SOCKET_UPGRADE + 8;

/// How many descriptors each kind of connection gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Client connections: `limits.max_connections`, or fewer.
    pub(super) clients: usize,
    /// Connections to the dashboard.
    pub(super) dashboard: usize,
}

/// Raises the soft limit to what `config` needs, as far as the hard limit allows. A shortfall is a warning. `passed` sockets for clients
/// were inherited: another process may have had more workers.
pub(super) fn share(config: &Config, workers: usize, passed: usize) -> Share {
    let wanted = config.downstream.limits.max_connections;
    let listeners = config.downstream.listen.len() + config.downstream.redirect.len();
    let sockets = passed.max(workers * listeners);
    let (serving, upgrade) = (serving(workers, sockets), upgrade(sockets));
    let needed = (serving + upgrade).saturating_add(wanted.saturating_mul(2));
    let allowed = raise(needed);
    let share = shared(wanted, serving, upgrade, allowed);
    if allowed < needed {
        tracing::warn!(
            event = "descriptors.short",
            needed,
            allowed,
            max_connections = wanted,
            clients = share.clients,
            "the limit of open files is too low for limits.max_connections, so fewer clients are accepted; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
    share
}

/// What serving takes beside clients.
fn serving(workers: usize, sockets: usize) -> usize {
    let shared = OWN + admin::MAX_DESCRIPTORS + MAX_TURNED_AWAY;
    shared + workers * EACH_WORKER + sockets * EACH_SOCKET
}

/// What an upgrade takes in addition.
fn upgrade(sockets: usize) -> usize {
    sockets * EACH_SOCKET_UPGRADE + UPGRADE
}

fn shared(wanted: usize, serving: usize, upgrade: usize, allowed: usize) -> Share {
    let left = allowed.saturating_sub(serving + upgrade);
    let left = if left >= wanted.saturating_mul(2).min(allowed / 4) {
        left
    } else {
        // Clients come before upgrades, which fail if they do not fit. With very few descriptors, the reserve shrinks too.
        allowed - serving.min(allowed / 2)
    };
    let clients = wanted.min((left / 2).max(1));
    // One HTTP/2 client may have many requests in flight.
    Share { clients, dashboard: left.saturating_sub(clients).max(1) }
}

/// The soft limit, after raising it to `needed` if the hard limit allows.
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
    fn the_reserve_comes_first_and_clients_get_half_of_the_rest() {
        let cases = [
            // Enough.
            (16_384, 150, 20, 170 + 2 * 16_384, (16_384, 16_384)),
            (2, 150, 24, 1048, (2, 872)),
            (2, 150, 24, 178, (2, 2)),
            // Too few.
            (16_384, 150, 0, 1024, (437, 437)),
            (16_384, 150, 24, 1048, (437, 437)),
            // Too few for an upgrade.
            (16_384, 150, 100, 332, (91, 91)),
            (16_384, 150, 0, 8, (2, 2)),
            (16_384, 150, 20, 0, (1, 1)),
        ];
        for (wanted, serving, upgrade, allowed, (clients, dashboard)) in cases {
            let share = shared(wanted, serving, upgrade, allowed);
            assert_eq!(share, Share { clients, dashboard }, "{wanted} of {allowed}");
        }
    }

    #[test]
    fn with_many_workers_upgrades_take_nothing_from_clients() {
        let of = |workers, upgrade| shared(16_384, serving(workers, workers), upgrade, 1024);
        for workers in [64, 128] {
            assert_eq!(of(workers, upgrade(workers)).clients, 256, "{workers} workers");
        }
        // With few workers, an upgrade has its part.
        assert!(of(2, upgrade(2)).clients < of(2, 0).clients);
    }
}
