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
/// Of each listening socket: the worker's, the original, the one for another process, and its copy while an upgrade starts that process.
const EACH_SOCKET: usize = 4;
/// For an upgrade: the socket of the admin listener, as above, and what starting a process takes.
const UPGRADE: usize = EACH_SOCKET + 8;

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
    let reserved = reserved(workers, sockets);
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
            "the limit of open files is too low for limits.max_connections, so fewer clients are accepted; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
    share
}

/// What is reserved for everything but clients.
fn reserved(workers: usize, sockets: usize) -> usize {
    let shared = OWN + admin::MAX_DESCRIPTORS + MAX_TURNED_AWAY;
    shared + workers * EACH_WORKER + sockets * EACH_SOCKET + UPGRADE
}

fn shared(wanted: usize, reserved: usize, allowed: usize) -> Share {
    // With few descriptors, the reserve shrinks to half of them. What an upgrade takes is missing first, as everything else is in use by
    // then: the upgrade fails, and clients are served.
    let left = allowed - reserved.min(allowed / 2);
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
            (16_384, 170, 170 + 2 * 16_384, (16_384, 16_384)),
            (2, 174, 1048, (2, 872)),
            // Too few.
            (16_384, 150, 1024, (437, 437)),
            (16_384, 250, 356, (89, 89)),
            (16_384, 150, 8, (2, 2)),
            (16_384, 150, 0, (1, 1)),
        ];
        for (wanted, reserved, allowed, (clients, dashboard)) in cases {
            let share = shared(wanted, reserved, allowed);
            assert_eq!(share, Share { clients, dashboard }, "{wanted} of {allowed}");
        }
    }

    #[test]
    fn with_many_workers_upgrades_take_nothing_from_clients() {
        // What the gate needs to serve, without upgrades.
        let least = |workers: usize| reserved(workers, 0) - UPGRADE + workers;
        for workers in [64, 128] {
            let share = shared(16_384, reserved(workers, workers), 1024);
            assert_eq!(share, shared(16_384, least(workers), 1024), "{workers} workers");
            assert_eq!(share.clients, 256, "{workers} workers");
        }
        // With few workers, an upgrade has its part.
        assert!(shared(16_384, reserved(2, 2), 1024).clients > 400);
    }
}
