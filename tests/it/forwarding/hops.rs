//! Random chains of proxies: the client address and the forwarded fields are those of an oracle that knows the chain.

use std::net::{IpAddr, SocketAddr, TcpStream};

use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::message::Message;
use crate::support::origin::Recorder;
use crate::support::random::Random;
use crate::support::wire::Wire;

const SEEDS: u64 = 400;

/// One element of a chain, and how it must be understood.
#[derive(Clone, Debug, Default)]
struct Hop {
    text: String,
    address: Option<&'static str>,
    proto: Option<&'static str>,
    host: Option<&'static str>,
}

/// An address that the gate trusts, and one that it does not.
const ADDRESSES: [(&str, bool); 6] = [
    ("10.1.2.3", true),
    ("10.9.9.9", true),
    ("fd00::7", true),
    ("192.0.2.1", false),
    ("203.0.113.7", false),
    ("2001:db8::1", false),
];

fn is_trusted(address: &str) -> bool {
    ADDRESSES.contains(&(address, true))
}

/// What a client may have sent before the first proxy added its own element.
const GARBAGE: [&str; 10] =
    ["evil", "\"", "for=\"x", "for=\"1.1.1.1", "1.2.3", "::1::", "a\\", "for=", "x\\\"", "for=a b"];

fn x_forwarded_for(random: &mut Random) -> Hop {
    let (address, _) = random.of(&ADDRESSES);
    let text = match (address.contains(':'), random.below(3)) {
        (false, 0) => format!("{address}:4711"),
        (true, 0) => format!("[{address}]:4711"),
        (true, 1) => format!("[{address}]"),
        _ => address.to_owned(),
    };
    Hop { text, address: Some(address), ..Hop::default() }
}

fn forwarded(random: &mut Random) -> Hop {
    let mut hop = Hop::default();
    let mut pairs = Vec::new();
    let name = random.of(&["for", "For", "FOR"]);
    match random.below(6) {
        0 => pairs.push(format!("{name}={}", random.of(&["unknown", "_hidden", "\"_x:80\""]))),
        1 => {}
        _ => {
            let (address, _) = random.of(&ADDRESSES);
            hop.address = Some(address);
            let port = random.of(&["", ":4711", ":_port"]);
            pairs.push(match address.contains(':') {
                true => format!("{name}=\"[{address}]{port}\""),
                false if port.is_empty() => format!("{name}={address}"),
                false => format!("{name}=\"{address}{port}\""),
            });
        }
    }
    if random.below(2) == 0 {
        let (text, proto) = random.of(&[("https", "https"), ("\"http\"", "http")]);
        hop.proto = Some(proto);
        pairs.push(format!("proto={text}"));
    }
    if random.below(2) == 0 {
        let (text, host) = random.of(&[
            ("outer", "outer"),
            ("\"a.example:8443\"", "a.example:8443"),
            ("\"[::1]:9\"", "[::1]:9"),
        ]);
        hop.host = Some(host);
        pairs.push(format!("Host={text}"));
    }
    if random.below(4) == 0 {
        pairs.push("by=\"_gate, \\\"one\\\";for=6.6.6.6\"".to_owned());
    }
    if pairs.is_empty() {
        pairs.push("ext=1".to_owned());
    }
    let turns = random.below(pairs.len());
    pairs.rotate_left(turns);
    hop.text = pairs.join(random.of(&[";", "; "]));
    hop
}

/// A chain as lines of one field, with garbage in front if there is any.
fn chain(random: &mut Random, hop: impl Fn(&mut Random) -> Hop) -> (Vec<Hop>, Vec<String>) {
    let mut hops: Vec<Hop> = (0..random.below(5)).map(|_| hop(random)).collect();
    if random.below(3) == 0 {
        hops.insert(0, Hop { text: random.of(&GARBAGE).to_owned(), ..Hop::default() });
    }
    let mut lines: Vec<String> = Vec::new();
    for hop in &hops {
        match lines.last_mut() {
            Some(line) if random.below(2) == 0 => {
                line.push_str(random.of(&[",", ", ", " ,\t"]));
                line.push_str(&hop.text);
            }
            _ => lines.push(hop.text.clone()),
        }
    }
    (hops, lines)
}

/// The hops that trusted proxies wrote, nearest first: up to the first that is not trusted or not known.
fn believed(hops: &[Hop]) -> Vec<&Hop> {
    let mut believed = Vec::new();
    for hop in hops.iter().rev() {
        believed.push(hop);
        if !hop.address.is_some_and(is_trusted) {
            break;
        }
    }
    believed
}

/// A request with both kinds of fields.
struct Sent {
    fields: String,
    x_hops: Vec<Hop>,
    x_lines: Vec<String>,
    protos: Vec<&'static str>,
    hosts: Vec<&'static str>,
    hops: Vec<Hop>,
}

fn sent(random: &mut Random) -> Sent {
    let (x_hops, x_lines) = chain(random, x_forwarded_for);
    let (hops, lines) = chain(random, forwarded);
    let mut several = |all: &[&'static str]| -> Vec<&'static str> {
        (0..random.below(3)).map(|_| random.of(all)).collect()
    };
    let protos = several(&["https", "http", "https, http", "http,https", "gopher"]);
    let hosts = several(&["one", "two:81", "evil, three"]);
    let mut all: Vec<String> = Vec::new();
    all.extend(x_lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")));
    all.extend(lines.iter().map(|line| format!("Forwarded: {line}\r\n")));
    all.extend(protos.iter().map(|proto| format!("X-Forwarded-Proto: {proto}\r\n")));
    all.extend(hosts.iter().map(|host| format!("X-Forwarded-Host: {host}\r\n")));
    if random.below(2) == 0 {
        all.insert(0, "X-Real-IP: 6.6.6.6\r\nX-Forwarded-Prefix: /e\r\n".to_owned());
    }
    Sent { fields: all.concat(), x_hops, x_lines, protos, hosts, hops }
}

/// The fields that the dashboard must receive.
fn expected(sent: &Sent, peer: &str, kind: Option<&str>) -> [(&'static str, String); 4] {
    let last = |all: &[&'static str]| {
        all.last().map(|value| value.rsplit(',').next().expect("one").trim().to_owned())
    };
    let (chain, client, proto, host) = match kind {
        None => (Vec::new(), None, None, None),
        Some("x-forwarded-for") => (
            sent.x_lines.clone(),
            believed(&sent.x_hops).iter().filter_map(|hop| hop.address).next_back(),
            last(&sent.protos),
            last(&sent.hosts),
        ),
        Some(_) => {
            let hops = believed(&sent.hops);
            let addresses = hops.iter().rev().filter_map(|hop| hop.address);
            let proto = hops.iter().rev().find_map(|hop| hop.proto);
            let host = hops.iter().rev().find_map(|hop| hop.host);
            let addresses: Vec<&str> = addresses.collect();
            let client = addresses.first().copied();
            let text = |text: &str| text.to_owned();
            (addresses.into_iter().map(text).collect(), client, proto.map(text), host.map(text))
        }
    };
    let chain: Vec<String> = chain.into_iter().chain([peer.to_owned()]).collect();
    [
        ("x-forwarded-for", chain.join(", ")),
        ("x-real-ip", client.unwrap_or(peer).to_owned()),
        ("x-forwarded-proto", proto.unwrap_or_else(|| "http".to_owned())),
        ("x-forwarded-host", host.unwrap_or_else(|| "dash".to_owned())),
    ]
}

/// Sends `request` from an address of this machine. Returns what reached the dashboard.
fn from(peer: &str, recorder: &Recorder, gate: &Gate, request: &str) -> Message {
    let peer: IpAddr = peer.parse().expect("an address");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::new(peer, 0).into()).expect("a port");
    socket.connect(&gate.address.into()).expect("the gate accepts");
    socket.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let mut client = Wire::over(TcpStream::from(socket));
    client.send(request);
    assert_eq!(client.answer().status(), 200, "{request}");
    recorder.seen().pop().expect("a request")
}

#[test]
fn only_trusted_proxies_set_the_forwarding_fields() {
    for kind in ["x-forwarded-for", "forwarded"] {
        let recorder = Recorder::start();
        let gate = Builder::before(recorder.address)
            .set("server.trusted_proxies", "[\"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\"]")
            .set("server.trusted_header", format!("{kind:?}"))
            .start();
        for seed in 0..SEEDS {
            let mut random = Random(seed);
            let sent = sent(&mut random);
            let (peer, believed) = random.of(&[("127.0.0.1", Some(kind)), ("127.0.0.2", None)]);
            let request = format!("GET / HTTP/1.1\r\nHost: dash\r\n{}\r\n", sent.fields);
            let arrived = from(peer, &recorder, &gate, &request);
            for (name, value) in expected(&sent, peer, believed) {
                assert_eq!(arrived.field(name), value, "{kind} {seed} {peer} {name}\n{request}");
            }
            let own = format!("for={peer};host=\"dash\";proto=http");
            let forwarded = match (kind, believed) {
                ("forwarded", Some(_)) => {
                    let hops = super::hops::believed(&sent.hops).into_iter().rev();
                    let kept = hops.filter(|hop| !GARBAGE.contains(&&*hop.text));
                    let all = kept.map(|hop| hop.text.clone()).chain([own]);
                    Some(all.collect::<Vec<_>>().join(", "))
                }
                ("forwarded", None) => Some(own),
                _ => None,
            };
            assert_eq!(arrived.one("forwarded"), forwarded, "{kind} {seed} {peer}\n{request}");
            let keeps_prefix = believed == Some("x-forwarded-for");
            let prefix = sent.fields.contains("Prefix") && keeps_prefix;
            assert_eq!(arrived.has("x-forwarded-prefix"), prefix, "{kind} {seed} {peer}");
        }
    }
}
