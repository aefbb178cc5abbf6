//! What happens on one connection, drawn from a seed.

use crate::socket::memory::Seed;

/// The protocol of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// With these window sizes: of a stream, of the connection.
    Http2(u32, u32),
}

impl Protocol {
    fn of(seed: &Seed, rush: bool) -> Self {
        const WINDOWS: [u32; 5] = [1, 1_000, 65_535, 1 << 20, 1 << 25];
        match seed.one_in(2) {
            true => Self::Http1,
            false if rush => Self::Http2(WINDOWS[4], WINDOWS[4]),
            // SETTINGS cannot reduce the window of the connection (RFC 9113 section 6.9.2).
            false => Self::Http2(WINDOWS[seed.below(5)], WINDOWS[2 + seed.below(3)]),
        }
    }

    pub(super) fn is_http2(self) -> bool {
        self != Self::Http1
    }

    /// Whether the stream window is so small that large bodies would take too long.
    fn is_narrow(self) -> bool {
        matches!(self, Self::Http2(..1_000, _))
    }
}

/// One direction of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) bytes: usize,
    /// Whether it has a `Content-Length`.
    pub(super) known: bool,
    pub(super) trailers: bool,
}

impl Payload {
    fn of(seed: &Seed, most: usize, rush: bool) -> Self {
        let known = seed.one_in(2);
        let bytes = if rush { 16_384 * seed.below(65) } else { seed.size(most) };
        Self { bytes, known, trailers: !known && seed.one_in(3) }
    }
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request and its response.
    Http {
        /// The dashboard responds at once, and reads the request meanwhile.
        at_once: bool,
        /// The client reads nothing before it has sent its whole request.
        uploads_first: bool,
    },
    /// Bytes in both directions; each sender ends its half.
    WebSocket,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) kind: Kind,
    pub(super) up: Payload,
    pub(super) down: Payload,
}

/// Which side disconnects early, by dropping its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    Neither,
    /// After this many bytes of responses.
    Client(usize),
    /// After this many bytes of requests.
    Dashboard(usize),
}

/// One client connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// Highest capacity of a transport.
    pub(super) most: usize,
    pub(super) client: Protocol,
    pub(super) dashboard: Protocol,
    /// Sequential over HTTP/1.1, concurrent over HTTP/2.
    pub(super) exchanges: Vec<Exchange>,
    pub(super) leaves: Leaves,
}

impl Scenario {
    pub(super) fn of(seed: &Seed) -> Self {
        const MOST: [usize; 4] = [1_024, 4_096, 65_536, 1 << 20];
        // Much data without delays, so that a turn ends only by its limit of rounds.
        let rush = seed.one_in(4);
        let most = if rush { 1 << 21 } else { MOST[seed.below(4)] };
        seed.set_pace(if rush { 0 } else { [0, 3, 8, 100][seed.below(4)] });
        let (client, dashboard) = (Protocol::of(seed, rush), Protocol::of(seed, rush));
        let narrow = client.is_narrow() || dashboard.is_narrow();
        let payload = if narrow { 300 } else { (most * 100).min(1_100_000) };
        let exchange = |_| Exchange {
            kind: match seed.below(5) {
                0 => Kind::WebSocket,
                kind => Kind::Http { at_once: kind < 3, uploads_first: seed.one_in(2) },
            },
            up: if seed.one_in(if rush { 1 } else { 3 }) {
                Payload { bytes: 0, known: true, trailers: false }
            } else {
                Payload::of(seed, payload, rush)
            },
            down: Payload::of(seed, payload, rush),
        };
        let mut exchanges: Vec<_> =
            (0..=seed.below(if rush { 1 } else { 4 })).map(exchange).collect();
        if client == Protocol::Http1 {
            // A WebSocket is the last exchange on an HTTP/1.1 connection.
            let first = exchanges.iter().position(|exchange| exchange.kind == Kind::WebSocket);
            exchanges.truncate(first.map_or(exchanges.len(), |first| first + 1));
        }
        let leaves = match seed.below(5) {
            0 => Leaves::Client(seed.size(payload)),
            1 => Leaves::Dashboard(seed.size(payload)),
            _ => Leaves::Neither,
        };
        if leaves != Leaves::Neither {
            // A client that only uploads to a dashboard that has disconnected is ended by `timeouts.send`, not by a wake-up.
            for exchange in &mut exchanges {
                if let Kind::Http { uploads_first, .. } = &mut exchange.kind {
                    *uploads_first = false;
                }
            }
        }
        Self { most, client, dashboard, exchanges, leaves }
    }
}
