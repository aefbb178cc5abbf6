//! A start that is interrupted or not possible, and a gate with little memory.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::gate::Builder;
use crate::support::origin::{Origin, Recorder};
use crate::support::program::Place;
use crate::support::scene::{Scene, Setup};
use crate::support::wire::Wire;

fn starting(place: &Place) -> Child {
    let mut command = place.command(&["serve", "--config", "gate.toml"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started")
}

fn terminate(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill").success());
}

/// The files below a directory.
fn files(dir: &Path) -> BTreeSet<String> {
    let entries = dir.read_dir().expect("a directory");
    entries.map(|entry| entry.expect("one").file_name().into_string().expect("text")).collect()
}

#[test]
fn a_signal_ends_a_start_that_waits_for_the_database() {
    let database = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = database.local_addr().expect("an address");
    let place = Place::new();
    let settings = "server.listen = ['127.0.0.1:0']\nadmin.listen = ''\n";
    let store = format!("store.url = 'postgres://user:word@{address}/db?sslmode=disable'\n");
    place.write("gate.toml", &format!("{settings}{store}"));
    let mut gate = starting(&place);
    // It says nothing, and the gate waits.
    let _connection = database.accept().expect("a connection");
    terminate(&gate);
    let mut log = String::new();
    gate.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
    assert_eq!(gate.wait().expect("ended").code(), Some(0), "{log}");
    assert!(log.contains("stopped during the start") && !log.contains("listening"), "{log}");
}

#[test]
fn a_signal_at_any_moment_of_the_start_leaves_the_store_whole() {
    let scene = Setup::new().start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let Scene { gate, vendor, .. } = scene;
    let dir = gate.kill();
    let place = Place::new();
    vendor.write_jwks(place.path());
    let data = place.path().join("data");
    fs::rename(dir.path().join("data"), &data).expect("renamed");
    let whole = files(&data);
    let upstream = Origin::vacant();
    let settings = format!(
        "server.listen = ['127.0.0.1:0']\nadmin.listen = ''\nstore.url = 'file:data'\n\
         license.keys = 'jwks.json'\nupstream.url = 'http://{upstream}'\n"
    );
    place.write("gate.toml", &settings);
    for round in 0..40_u64 {
        let mut gate = starting(&place);
        let mut lines = BufReader::new(gate.stderr.take().expect("piped")).lines();
        // The first line comes once signals are handled.
        let first = lines.next().expect("a line").expect("text");
        (0..round * 20_000).for_each(|_| std::hint::spin_loop());
        terminate(&gate);
        let log: Vec<String> = lines.map_while(Result::ok).collect();
        assert_eq!(gate.wait().expect("ended").code(), Some(0), "{first}\n{log:#?}");
        assert_eq!(files(&data), whole);
        assert_eq!(fs::read_to_string(data.join("license.jwt")).expect("a file"), token);
    }
}

#[test]
fn an_address_that_another_process_listens_on_ends_the_start_with_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let used = taken.local_addr().expect("an address").to_string();
    let place = Place::new();
    for settings in [
        format!("server.listen = ['127.0.0.1:0', '{used}']"),
        format!(
            "server.listen = ['127.0.0.1:0']\nserver.redirect = ['{used}']\nserver.root_url = 'https://a.example/'"
        ),
    ] {
        place.write("gate.toml", &format!("{settings}\nadmin.listen = ''\n"));
        let ran = place.run(&["serve", "--config", "gate.toml"]).exits(2);
        let ran = ran.reports(&["event=gate.cannot_start", &used, "another process listens there"]);
        assert!(!ran.err.contains("message=\"listening\""), "{}", ran.err);
    }
}

/// The limit is RLIMIT_DATA: all private writable memory of the process, whether it is used or not, with the stacks of its threads.
#[test]
fn two_thousand_connections_are_served_within_64_mib() {
    const CLIENTS: usize = 2_000;
    const MIB: u64 = 1024 * 1024;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(8192, |most| most.min(8192)).max(limit.current.unwrap_or(0));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit }).expect("raised");
    let dashboard = Recorder::start();
    let gate = Builder::before(dashboard.address).set("admin.listen", "'127.0.0.1:0'");
    let limit = format!("--data={}", 64 * MIB);
    let gate = gate.set("limits.max_connections", CLIENTS).through(&["prlimit", &limit]).start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Wire::connect(gate.address)).collect();
    for _ in 0..2 {
        clients.iter_mut().for_each(|client| client.get("/"));
        for client in &mut clients {
            assert_eq!(client.answer().status(), 200);
        }
    }
    assert_eq!(gate.metric("license_gate_open_connections"), CLIENTS.to_string());
    let limits = fs::read_to_string(format!("/proc/{}/limits", gate.pid())).expect("a process");
    let data = limits.lines().find(|line| line.starts_with("Max data size")).expect("a line");
    assert!(data.contains(&(64 * MIB).to_string()), "{data}");
}
