//! `license-gate health`: ready, not ready, and gates that answer anything else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::support::gate::{Builder, Gate};
use crate::support::origin::Origin;
use crate::support::program::{Place, Ran};

fn gate(listen: &str) -> Gate {
    Builder::before(Origin::vacant()).set("admin.listen", format!("'{listen}'")).start()
}

fn ask_once(address: impl std::fmt::Display) -> Ran {
    Place::new().run(&["health", "--admin", &format!("http://{address}")])
}

fn ask(address: impl std::fmt::Display) -> Ran {
    patiently(|| ask_once(&address))
}

/// Runs the command again if its 2 s were not enough, as on a machine with many other processes.
#[track_caller]
fn patiently(run: impl Fn() -> Ran) -> Ran {
    let mut runs = (0..10).map(|_| run());
    runs.find(|ran| !ran.err.contains("within 2 s")).expect("a result within 2 s")
}

fn run(place: &Place, words: &[&str]) -> Ran {
    patiently(|| place.run(words))
}

#[test]
fn a_gate_that_is_ready_is_0() {
    let gate = gate("127.0.0.1:0");
    let ran = ask(gate.admin()).exits(0);
    assert_eq!((&*ran.out, &*ran.err), ("ready\n", ""));
    ask(format!("localhost:{}/", gate.admin().port())).exits(0);
}

#[test]
fn the_listener_of_the_configuration_is_asked() {
    let place = Place::new();
    let address = Origin::vacant();
    let _gate = gate(&address.to_string());
    place.write("etc/gate.toml", &format!("admin.listen = '0.0.0.0:{}'\n", address.port()));
    run(&place, &["health", "--config", "etc/gate.toml"]).exits(0);
    let text = address.to_string();
    let variable = [("LICENSE_GATE__ADMIN__LISTEN", &*text)];
    patiently(|| place.run_with(&["health"], &variable, "")).exits(0);
    // A variable beats the file, as for `serve`.
    place.write("etc/gate.toml", "admin.listen = ''\n");
    patiently(|| place.run_with(&["health", "--config", "etc/gate.toml"], &variable, "")).exits(0);
    run(&place, &["health", "--config", "etc/gate.toml"])
        .exits(1)
        .reports(&["admin.listen is empty"]);
    // Faults elsewhere are no reason not to ask.
    let file = format!("admin.listen = '{address}'\nserver.workers = 'many'\nsevrer.x = 1\n");
    place.write("etc/gate.toml", &file);
    run(&place, &["health", "--config", "etc/gate.toml"]).exits(0);
}

#[test]
fn a_unix_socket_is_asked_wherever_the_command_runs() {
    let gate = gate("unix:admin.sock");
    let config = gate.dir().join("gate.toml");
    let config = config.to_str().expect("text");
    run(&Place::new(), &["health", "--config", config]).exits(0);
    let socket = format!("unix:{}", gate.dir().join("admin.sock").display());
    run(&Place::new(), &["health", "--admin", &socket]).exits(0);
    drop(gate);
    let ran = run(&Place::new(), &["health", "--admin", &socket]).exits(1);
    ran.reports(&[&socket, "cannot be reached: No such file"]);
}

#[test]
fn a_gate_that_drains_is_1_with_the_reason() {
    let gate = Builder::before(Origin::vacant()).set("admin.listen", "'127.0.0.1:0'");
    let gate = gate.set("shutdown.delay", "'1h'").start();
    gate.signal("TERM");
    gate.log().wait_for("stopping");
    // The line comes before the change.
    while ask(gate.admin()).code == 0 {}
    let ran = ask(gate.admin()).exits(1);
    assert_eq!(ran.out, "");
    ran.reports(&["is not ready: [-] not draining"]);
}

#[test]
fn what_cannot_be_asked_is_1_with_what_to_do() {
    let place = Place::new();
    run(&place, &["health", "--admin", "https://127.0.0.1:1"]).exits(1).reports(&["unix:PATH"]);
    run(&place, &["health", "--admin", "127.0.0.1:9180"]).exits(1).reports(&["http://HOST:PORT"]);
    run(&place, &["health", "--bogus"]).exits(1).reports(&["--bogus"]);
    let ran = run(&place, &["health", "--config", "none.toml"]).exits(1);
    ran.reports(&["none.toml", "cannot be read"]);
    place.write("gate.toml", "admin.listen = '127.0.0.1:0'\n");
    run(&place, &["health", "--config", "gate.toml"]).exits(1).reports(&["has port 0"]);
    place.write("gate.toml", "admin.listen = 'nowhere'\n");
    run(&place, &["health", "--config", "gate.toml"])
        .exits(1)
        .reports(&["gate.toml:1: admin.listen:"]);
    place.write("gate.toml", "admin.listen =\n");
    run(&place, &["health", "--config", "gate.toml"]).exits(1).reports(&["gate.toml:1:"]);
    ask(Origin::vacant()).exits(1).reports(&["cannot be reached: Connection refused"]);
    ask("name.invalid:9180").exits(1).reports(&["name.invalid:9180"]);
}

/// Something that listens like a gate, and treats each connection as `serve` does until the test ends.
struct Odd {
    address: SocketAddr,
    _end: Sender<()>,
}

impl Odd {
    fn that(serve: fn(TcpStream, &Receiver<()>)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (end, ended) = channel();
        thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let _ = client.read(&mut [0; 1024]);
            serve(client, &ended);
        });
        Self { address, _end: end }
    }

    /// Answers with `answer`, and closes.
    fn answers(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (end, _) = channel();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = client.read(&mut [0; 1024]);
                let _ = client.write_all(answer);
            }
        });
        Self { address, _end: end }
    }
}

/// Waits until the test ends.
fn wait(ended: &Receiver<()>) {
    let _ = ended.recv();
}

/// Writes `bytes` again and again until the test ends.
fn trickle(mut client: TcpStream, bytes: &[u8], ended: &Receiver<()>) {
    while ended.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
        let _ = client.write_all(bytes);
    }
}

#[test]
fn a_gate_that_hangs_is_1_after_2_s() {
    let hangs: [fn(TcpStream, &Receiver<()>); 5] = [
        |client, ended| {
            wait(ended);
            drop(client);
        },
        |client, ended| trickle(client, b"H", ended),
        |mut client, ended| {
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n");
            trickle(client, b"a: b\r\n", ended);
        },
        |mut client, ended| {
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready");
            wait(ended);
            drop(client);
        },
        |mut client, ended| {
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            trickle(client, b"1\r\nr\r\n", ended);
        },
    ];
    thread::scope(|scope| {
        for hang in hangs {
            scope.spawn(move || {
                let odd = Odd::that(hang);
                let address = odd.address.to_string();
                ask_once(&address).exits(1).reports(&[&address, "gave no answer within 2 s"]);
            });
        }
        scope.spawn(|| {
            // Connected by the system, accepted by nobody.
            let place = Place::new();
            let path = place.path().join("admin.sock");
            let _listener = UnixListener::bind(&path).expect("a socket");
            let ran = place.run(&["health", "--admin", "unix:admin.sock"]).exits(1);
            ran.reports(&["unix:admin.sock gave no answer within 2 s"]);
        });
        scope.spawn(|| {
            // A configuration that nobody writes.
            let place = Place::new();
            let made = std::process::Command::new("mkfifo").arg(place.path().join("f")).status();
            assert!(made.expect("mkfifo").success());
            let ran = place.run(&["health", "--config", "f"]).exits(1);
            ran.reports(&["the configuration could not be read within 2 s"]);
        });
    });
}

#[test]
fn streams_that_nobody_reads_do_not_hold_it_up() {
    let gate = gate("127.0.0.1:0");
    for (admin, code) in [(gate.admin(), 0), (Origin::vacant(), 1)] {
        let (_reader, mut writer) = std::io::pipe().expect("a pipe");
        // As much as it holds, unless somebody changed that (`pipe(7)`).
        writer.write_all(&[b'-'; 64 * 1024]).expect("room for it");
        let place = Place::new();
        let ends = || {
            let clone = || writer.try_clone().expect("a pipe");
            let mut command = place.command(&["health", "--admin", &format!("http://{admin}")]);
            command.stdout(clone()).stderr(clone()).status().expect("ended").code()
        };
        // Its 2 s may not be enough on a machine with many other processes.
        assert!((0..10).any(|_| ends() == Some(code)));
    }
}

#[test]
fn what_is_no_answer_of_a_gate_is_1() {
    let cases: [(&[u8], &str); 8] = [
        (b"", "does not answer HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nrea", "does not answer HTTP"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers 404 to GET /readyz"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "answers 302"),
        (b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", "is not ready: it states no reason"),
        (b"HTTP/1.1 503 x\r\n\r\n[-] a\x1b[2J\xff\n", "is not ready: [-] a\\u{1b}[2J"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "does not answer HTTP"),
    ];
    for (answer, expected) in cases {
        let odd = Odd::answers(answer);
        ask(odd.address).exits(1).reports(&[&odd.address.to_string(), expected]);
    }
}
